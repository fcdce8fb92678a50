//! The report as one HTML file: no script, nothing from elsewhere, to be printed. What peers say is escaped here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::admin::page::cells::{HtmlText, bytes, count, list, text};
use crate::admin::page::table_of;

/// In the file itself. Its hash is in the policy of the page, which lets no other style in.
const STYLE: &str = include_str!("report.css");

/// The page.
pub(super) fn page(report: &Value) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Sealed Shuffle: evidence</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    let sections = [
        ("Sealed Shuffle: evidence", front(report)),
        ("Encrypted in transit", transit(report)),
        ("Applications", applications(report)),
        ("Policy", policy(report)),
        ("Certificate", certificate(&report["certificate"])),
        ("Encrypted at rest", at_rest(report)),
        ("Keys", keys(&report["keys"])),
        ("What lies beneath the roots", scan(&report["scan"])),
        ("Audit trail", audit(&report["audit"])),
        ("What the process gave up", confinement(&report["confinement"])),
    ];
    for (n, (title, body)) in sections.into_iter().enumerate() {
        let level = if n == 0 { 1 } else { 2 };
        // Writing to a string does not fail.
        _ = writeln!(out, "<section>\n<h{level}>{title}</h{level}>\n{body}</section>");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn front(report: &Value) -> String {
    let server = &report["server"];
    let rows = [
        ("made", text(&report["made"])),
        ("host", text(&report["host"])),
        ("asked at", text(&report["asked_at"])),
        ("release", text(&server["release"])),
        ("architecture", text(&server["build"]["architecture"])),
        ("kernel", text(&report["kernel"])),
        ("started", text(&server["started"])),
        ("state", text(&server["state"])),
    ];
    facts(rows)
}

/// A name and what is to be said of it in each row; the latter is markup already.
fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows = rows
        .into_iter()
        .map(|(name, value)| format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n"));
    format!("<table class=\"facts\">\n<tbody>\n{}</tbody>\n</table>\n", rows.collect::<String>())
}

fn transit(report: &Value) -> String {
    let rows = list(&report["transit"]["served"]).map(|one| {
        vec![
            text(&one["channel"]),
            text(&one["handshake"]),
            text(&one["cipher"]),
            count(&one["connections"]),
            count(&one["blocks"]),
            bytes(&one["bytes"]),
        ]
    });
    let head = ["channel", "handshake", "cipher", "connections", "blocks handed out", "bytes"];
    let refused = report["transit"]["refusals"].as_object().into_iter().flatten();
    let refused: Vec<_> = refused
        .filter(|(_, times)| times.as_u64() != Some(0))
        .map(|(reason, times)| format!("{} {}", count(times), HtmlText(reason)))
        .collect();
    let refused = if refused.is_empty() { "nothing".to_owned() } else { refused.join(", ") };
    "<p>Since the start of the server. The level of a channel and its cipher are what both ends agreed on.</p>\n".to_owned()
        + &table_of("channels", &head, rows, "Nothing was served yet.")
        + &format!("<p>Refused since the start: {refused}.</p>\n{}", traces(&report["transit"]["traces"]))
}

/// What is sent to a collector, which no channel of ours protects.
fn traces(traces: &Value) -> String {
    match traces["endpoint"].as_str() {
        None => "<p>Traces of requests go nowhere.</p>\n".to_owned(),
        Some(endpoint) => {
            let percent = traces["sample_rate"].as_f64().unwrap_or(0.0) * 100.0;
            let what = "ids of applications and executors, addresses of peers, and no block";
            format!(
                "<p>Traces of {percent} % of requests go to {} in clear: {what}.</p>\n",
                HtmlText(endpoint)
            )
        }
    }
}

fn applications(report: &Value) -> String {
    let rows = list(&report["transit"]["applications"]).map(|app| {
        let channels: Vec<_> = list(&app["channels"])
            .map(|one| format!("{} ({})", text(&one["channel"]), text(&one["handshake"])))
            .collect();
        vec![
            text(&app["app"]),
            if app["proven"] == true { "proven".to_owned() } else { "not proven".to_owned() },
            text(&app["user"]),
            if app["running"] == true { "runs".to_owned() } else { "does not run".to_owned() },
            channels.join(", "),
            bytes(&app["bytes_served"]),
            bytes(&app["disk_bytes"]),
            text(&app["last_seen"]),
            count(&app["refused"]),
        ]
    });
    let head =
        ["application", "identity", "user", "state", "channels", "served", "on disk", "last seen", "refused"];
    let (counts, target) = (&report["transit"]["counts"]["running"], text(&report["transit"]["target"]));
    format!(
        "<p>{} of {} applications that run would be refused at the target {target}.</p>\n",
        count(&counts["below_target"]),
        count(&counts["applications"]),
    ) + &table_of("applications", &head, rows, "No application was seen.")
}

fn policy(report: &Value) -> String {
    let policy = &report["policy"];
    let serves = match policy["allow"].as_array() {
        Some(levels) => levels.iter().map(text).collect::<Vec<_>>().join(", "),
        None => format!("{} and better", text(&policy["minimum"])),
    };
    let unproven = match policy["serves_peers_without_proof"] == true {
        true => "served, too",
        false => "refused",
    };
    let own: Vec<_> = policy["applications"].as_object().into_iter().flatten().collect();
    let own = own.into_iter().map(|(app, rules)| {
        vec![
            HtmlText(app).to_string(),
            text(&rules["minimum"]),
            text(&rules["target"]),
            text(&rules["allow"]),
        ]
    });
    let set = list(&report["settings"])
        .map(|one| vec![text(&one["key"]), text(&one["value"]), text(&one["origin"])]);
    facts([
        ("serves", serves),
        ("target", text(&policy["target"])),
        ("peers without proof", unproven.to_owned()),
    ]) + &table_of("own", &["application", "minimum", "target", "allowed"], own, "")
        + &table_of(
            "settings",
            &["set by", "value", "origin"],
            set,
            "No key says otherwise: these are the defaults.",
        )
}

fn certificate(certificate: &Value) -> String {
    let Some(left) = certificate["seconds_left"].as_u64() else {
        return "<p>TLS is not spoken.</p>\n".to_owned();
    };
    facts([
        ("subject", text(&certificate["subject"])),
        ("names", list(&certificate["names"]).map(text).collect::<Vec<_>>().join(", ")),
        ("valid until", format!("{}, {} days", text(&certificate["not_after"]), left / 86_400)),
        ("SHA-256", text(&certificate["fingerprint"])),
    ])
}

fn at_rest(report: &Value) -> String {
    let at_rest = &report["at_rest"];
    let or = |value: &Value, none: &str| if value.is_null() { none.to_owned() } else { text(value) };
    let store = &report["recovery_store"];
    let held = match () {
        () if store["waits_for_key"] == true => "; it waits for its key",
        () => "",
    };
    let roots: Vec<_> = list(&report["disks"])
        .map(|disk| format!("{} ({})", text(&disk["root"]), text(&disk["health"])))
        .collect();
    facts([
        ("merged data", or(&at_rest["merged"], "none: this server does not merge")),
        ("recovery store", or(&at_rest["recovery_store"], "none: a restart forgets") + held),
        ("files of executors", text(&at_rest["executors_files"])),
        ("roots", roots.join(", ")),
    ])
}

fn keys(keys: &Value) -> String {
    let of = &keys["of"];
    if of.is_null() {
        return "<p>The server seals nothing at rest, and has no keys.</p>\n".to_owned();
    }
    let or_none = |value: &Value| match value.as_str() {
        None | Some("") => "none".to_owned(),
        Some(name) => HtmlText(name).to_string(),
    };
    let service = facts([
        ("key service", text(&of["service"])),
        ("bound to cluster", or_none(&of["cluster"])),
        ("bound to node", or_none(&of["node"])),
        ("where it is away", text(&of["on_unavailable"])),
    ]);
    let wrapping = &keys["wrapping"];
    let rows = list(&wrapping["keys"]).map(|key| {
        let days = key["age_seconds"].as_i64().unwrap_or(0) / 86_400;
        let role = if key["wraps"] == true { "wraps and unwraps" } else { "unwraps" };
        vec![text(&key["name"]), text(&key["made"]), format!("{days} days"), role.to_owned()]
    });
    let why = format!("Generations are not listed: {}.", text(&wrapping["why"]));
    let generations = table_of("generations", &["wrapping key", "made", "age", "use"], rows, &why);
    let needed = list(&keys["needed"]).map(|need| vec![text(&need["key"]), text(&need["by"])]);
    service + &generations + &table_of("needed", &["needed now", "by"], needed, "")
}

fn scan(scan: &Value) -> String {
    if scan.is_null() {
        return "<p>Not looked at: <code>sealed-shuffle report --scan</code> does.</p>\n".to_owned();
    }
    const KINDS: [&str; 6] = ["sealed", "encrypted_likely", "readable", "cannot_tell", "metadata", "other"];
    let row = |name: String, tally: &Value| {
        let cell = |kind: &&str| {
            let tally = &tally[*kind];
            match tally["files"].as_u64() {
                None | Some(0) => "\u{2013}".to_owned(),
                Some(_) => format!("{} in {}", bytes(&tally["bytes"]), count(&tally["files"])),
            }
        };
        std::iter::once(name).chain(KINDS.iter().map(cell)).collect::<Vec<_>>()
    };
    let owners = list(&scan["applications"]).map(|owner| {
        let name = match (&owner["app"], &owner["directory"]) {
            (Value::Null, Value::Null) => "further ones".to_owned(),
            (Value::Null, dir) => text(dir),
            (app, _) => text(app),
        };
        row(name, owner)
    });
    let rows = owners.chain([row("all".to_owned(), &scan["total"])]);
    let head =
        ["application", "sealed", "encrypted (likely)", "readable", "cannot tell", "metadata", "other"];
    let readable = scan["total"]["readable"]["files"].as_u64().unwrap_or(0);
    let said = match readable {
        0 => "<p class=\"good\">No readable file was seen.</p>\n".to_owned(),
        files => format!("<p class=\"bad\">{files} files are readable without a key.</p>\n"),
    };
    said + &table_of("scan", &head, rows, "")
        + &format!(
            "<p>{} files; {} could not be looked at.</p>\n",
            count(&scan["files"]),
            count(&scan["not_looked_at"]["count"])
        )
}

fn audit(audit: &Value) -> String {
    let (of, trail) = (&audit["of"], &audit["trail"]);
    if of.is_null() {
        return "<p>None is kept (<code>spark.sealed.audit.enabled</code>).</p>\n".to_owned();
    }
    let standing = match trail["standing"].as_str() {
        Some("whole") => "<strong class=\"good\">whole</strong>".to_owned(),
        Some(standing) => format!("<strong class=\"bad\">{}</strong>", HtmlText(standing)),
        None => format!("<strong class=\"bad\">not judged</strong>: {}", text(&trail["why"])),
    };
    let last = format!("{}, {}", count(&trail["last_record"]), text(&trail["last_hash"]));
    let changed = list(&trail["changed"])
        .map(|one| vec![format!("{}:{}", text(&one["file"]), text(&one["line"])), text(&one["what"])]);
    facts([
        ("directory", text(&of["directory"])),
        ("standing", standing),
        ("records", count(&trail["records"])),
        ("last record", last),
        ("lost since the start", count(&of["lost"])),
    ]) + &table_of("changed", &["where", "what"], changed, "")
        + &list(&trail["unjudged"]).map(|why| format!("<p>{}.</p>\n", text(why))).collect::<String>()
}

fn confinement(lines: &Value) -> String {
    let lines: String = list(lines).map(|line| format!("<li>{}</li>\n", text(line))).collect();
    match lines.is_empty() {
        true => "<p>Not known: the server is part of another program.</p>\n".to_owned(),
        false => format!("<ul>\n{lines}</ul>\n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_others_say_is_markup() {
        let evil = "<script>alert(1)</script>\"'&";
        // Every text of a report is somebody's.
        let report = json!({
            "host": evil, "made": evil, "kernel": evil, "asked_at": evil,
            "server": {"release": evil, "build": {"architecture": evil}, "started": evil, "state": evil},
            "policy": {"minimum": evil, "target": evil, "applications": {evil: {"minimum": evil}}},
            "settings": [{"key": evil, "value": evil, "origin": evil}],
            "transit": {
                "served": [{"channel": evil, "handshake": evil, "cipher": evil}],
                "refusals": {evil: 1}, "target": evil, "traces": {"endpoint": evil, "sample_rate": 0.5},
                "applications": [{"app": evil, "user": evil, "channels": [{"channel": evil, "handshake": evil}], "last_seen": evil}],
            },
            "certificate": {"seconds_left": 1, "subject": evil, "names": [evil], "not_after": evil, "fingerprint": evil},
            "at_rest": {"merged": evil, "recovery_store": evil, "executors_files": evil},
            "disks": [{"root": evil, "health": evil}],
            "keys": {
                "of": {"service": evil, "cluster": evil, "node": evil, "on_unavailable": evil},
                "needed": [{"key": evil, "by": evil}],
                "wrapping": {"keys": [{"name": evil, "made": evil}]},
            },
            "scan": {"applications": [{"app": evil}, {"directory": evil}], "total": {}},
            "audit": {
                "of": {"directory": evil},
                "trail": {"standing": evil, "last_hash": evil, "changed": [{"file": evil, "what": evil}], "unjudged": [evil]},
            },
            "confinement": [evil],
        });
        let page = page(&report);
        assert!(!page.contains("<script") && !page.contains("\"'&"), "{page}");
        assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() > 40, "{page}");
    }

    #[test]
    fn page_needs_nothing_and_lets_nothing_in() {
        let page = page(&Value::Null);
        for word in ["http:", "https:", "<script", "<link", "<img", " style=", " onclick="] {
            assert!(!page.contains(word), "{word} in {page}");
        }
        assert!(page.contains("default-src 'none'; style-src 'sha256-"));
        let style = page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).unwrap().0;
        assert!(
            page.contains(&STANDARD.encode(Sha256::digest(style))),
            "the policy lets in the style that is there"
        );
    }
}
