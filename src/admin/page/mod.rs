//! `GET /`: one page to look at, made of what `GET /status` and `GET /applications` say.
//!
//! The server writes the whole page, so that it says the same without a script. The script asks for it again every two
//! seconds, takes over what has changed, and adds rates. Nothing comes from elsewhere, and the policy of the page
//! (`Content-Security-Policy`) lets nothing in. What peers say is escaped here, whatever it went through before.

pub(crate) mod cells;

use std::fmt::Write as _;

use serde_json::Value;

use self::cells::{HtmlText, bytes, count, counted, list, text, thousands};

/// The script, at `/page.js`.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The style sheet, at `/page.css`.
pub(super) const STYLE: &str = include_str!("page.css");

/// What a browser may do with the page.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page, from the status and the table of applications.
pub(super) fn page(status: &Value, applications: &Value) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Sealed Shuffle</title>\n<link rel=\"stylesheet\" href=\"/page.css\">\n\
         <script src=\"/page.js\" defer></script>\n</head>\n<body>\n",
    );
    let sections = [
        ("state", "Sealed Shuffle", state(status)),
        ("throughput", "Served", served(status)),
        ("policy", "Policy", policy(status)),
        ("applications", "Applications", table(applications)),
        ("refusals", "Refused", refusals(status, applications)),
        ("disks", "Disks", disks(status)),
        ("shares", "What applications share", shares(status)),
        ("keys", "Certificate, keys and audit trail", keys(status)),
    ];
    out.push_str("<main id=\"main\" tabindex=\"-1\">\n");
    for (id, title, body) in sections {
        let level = if id == "state" { 1 } else { 2 };
        // Writing to a string does not fail.
        _ = writeln!(
            out,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h{level} id=\"{id}-title\">{title}</h{level}>\n{body}</section>"
        );
    }
    out.push_str(
        "</main>\n<footer><p id=\"fresh\" role=\"status\">A snapshot. Load the page again for another.</p>\n\
         <p><a href=\"/status\">status</a> <a href=\"/applications\">applications</a> <a href=\"/metrics\">metrics</a> \
         <a href=\"/readyz\">readyz</a></p></footer>\n</body>\n</html>\n",
    );
    out
}

fn state(status: &Value) -> String {
    let is_good = status["ready"] == true;
    let ready = if is_good { "ready" } else { "not ready" };
    let (class, state) = (if is_good { "good" } else { "bad" }, text(&status["state"]));
    let connections = counted(&status["connections"], "connection");
    let registered = counted(&status["applications"]["registered"], "application");
    let executors = counted(&status["applications"]["executors"], "executor");
    format!(
        "<p><strong class=\"{class}\">{state}, {ready}</strong> \u{b7} release {} \u{b7} since {} \u{b7} {registered} with \
         {executors} \u{b7} {connections}</p>\n",
        text(&status["release"]),
        text(&status["started"]),
    )
}

fn served(status: &Value) -> String {
    let rows = list(&status["served"]).map(|one| {
        let total = one["bytes"].as_u64().unwrap_or(0);
        let key = format!("{} {}", text(&one["channel"]), text(&one["handshake"]));
        vec![
            text(&one["channel"]),
            text(&one["handshake"]),
            text(&one["cipher"]),
            count(&one["connections"]),
            count(&one["blocks"]),
            bytes(&one["bytes"]),
            // The script fills it.
            format!("<output data-rate=\"{key}\" data-bytes=\"{total}\">\u{2013}</output>"),
        ]
    });
    let head = ["channel", "handshake", "cipher", "connections so far", "blocks", "bytes", "now"];
    let memory = &status["memory"];
    table_of("served", &head, rows, "Nothing was served yet.")
        + &format!(
            "<p>{} chunks on their way; {} of {} of the memory budget in use, {} resident.</p>\n",
            count(&status["chunks_in_transfer"]),
            bytes(&memory["used_bytes"]),
            bytes(&memory["budget_bytes"]),
            bytes(&memory["anonymous_bytes"]),
        )
}

fn policy(status: &Value) -> String {
    let policy = &status["policy"];
    let serves = match policy["allow"].as_array() {
        Some(levels) => levels.iter().map(text).collect::<Vec<_>>().join(", "),
        None => format!("{} and better", text(&policy["minimum"])),
    };
    let running = &status["applications"]["counts"]["running"];
    let below = running["below_target"].as_u64().unwrap_or(0);
    let unheard = match running["unheard"].as_u64() {
        Some(0) | None => String::new(),
        Some(unheard) => format!(" How {unheard} more speak is not known yet."),
    };
    format!(
        "<p>Serves {serves}. <strong class=\"{}\">{below} of {} applications that run would be refused at the target \
         {}.</strong>{unheard}</p>\n",
        if below == 0 { "good" } else { "warn" },
        count(&running["applications"]),
        text(&policy["target"]),
    )
}

fn table(applications: &Value) -> String {
    /// More are for `sealed-shuffle apps`.
    const MOST: usize = 200;
    let rows = list(&applications["applications"]).take(MOST).map(|app| {
        let counting = list(&app["channels"]).filter(|channel| channel["counts"] == true);
        let channels: Vec<_> = counting.map(|channel| text(&channel["channel"])).collect();
        let spark =
            list(&app["channels"]).next().map_or_else(|| "-".to_owned(), |channel| text(&channel["spark"]));
        let remark = app["advice"].as_str().map_or_else(String::new, |advice| HtmlText(advice).to_string());
        vec![
            text(&app["app"]),
            text(&app["user"]),
            if app["running"] == true { "runs".to_owned() } else { "does not run".to_owned() },
            count(&app["executors"]),
            channels.join(", "),
            spark,
            bytes(&app["bytes_served"]),
            bytes(&app["disk_bytes"]),
            text(&app["last_seen"]),
            remark,
        ]
    });
    let head = [
        "application",
        "user",
        "state",
        "executors",
        "channel",
        "Spark",
        "served",
        "on disk",
        "last seen",
        "remark",
    ];
    let all = applications["applications"].as_array().map_or(0, Vec::len);
    let more = match all.saturating_sub(MOST) {
        0 => String::new(),
        more => format!("<p>{} more: <code>sealed-shuffle apps</code></p>\n", thousands(more as u64)),
    };
    table_of("apps", &head, rows, "No application was seen yet.") + &more
}

fn refusals(status: &Value, applications: &Value) -> String {
    let counts = status["refusals"].as_object().into_iter().flatten();
    let counts: Vec<_> = counts
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(reason, times)| format!("{} {}", count(times), HtmlText(reason)))
        .collect();
    let counts = if counts.is_empty() { "nothing since the start".to_owned() } else { counts.join(", ") };
    let rows = list(&applications["applications"]).filter(|app| !app["last_refusal"].is_null()).map(|app| {
        let last = &app["last_refusal"];
        vec![
            text(&last["at"]),
            text(&app["app"]),
            text(&last["peer"]),
            count(&app["refused"]),
            text(&last["reason"]),
        ]
    });
    let head = ["last", "application", "peer", "times", "why, and what to change"];
    format!("<p>By reason: {counts}.</p>\n") + &table_of("refused", &head, rows, "")
}

fn disks(status: &Value) -> String {
    let rows = list(&status["disks"]).map(|disk| {
        let health = text(&disk["health"]);
        let class = match disk["health"].as_str() {
            Some("ok") => "good",
            Some("slow" | "full" | "read-only") => "warn",
            _ => "bad",
        };
        let remedy = if class == "good" { String::new() } else { text(&disk["remedy"]) };
        vec![
            text(&disk["root"]),
            format!("<strong class=\"{class}\">{health}</strong>"),
            HtmlText(disk["why"].as_str().unwrap_or("")).to_string(),
            bytes(&disk["free_bytes"]),
            bytes(&disk["total_bytes"]),
            count(&disk["calls_given_up"]),
            remedy,
        ]
    });
    let head = ["root", "health", "why", "free", "of", "calls given up", "what to do"];
    table_of("roots", &head, rows, "There are no local directories.")
}

fn shares(status: &Value) -> String {
    let rows = list(&status["shares"]).map(|share| {
        let (used, total) = (share["used"].as_u64().unwrap_or(0), share["total"].as_u64().unwrap_or(0));
        let waiting = share["waiting"].as_u64().unwrap_or(0);
        let class = if waiting > 0 { "bad" } else { "good" };
        vec![
            text(&share["name"]),
            format!("<meter min=\"0\" max=\"{}\" value=\"{used}\">{used}</meter>", total.max(1)),
            count(&share["used"]),
            count(&share["total"]),
            count(&share["largest"]),
            format!("<strong class=\"{class}\">{waiting}</strong>"),
            count(&share["refused"]),
        ]
    });
    let head = ["what", "", "used", "of", "most by one", "waiting", "refused"];
    table_of("pots", &head, rows, "")
}

fn keys(status: &Value) -> String {
    let certificate = &status["certificate"];
    let tls = match certificate["seconds_left"].as_u64() {
        None => "<p>TLS is not spoken.</p>\n".to_owned(),
        Some(_) if certificate["valid"] == false => format!(
            "<p>{}: <strong class=\"bad\">not valid from {} to {}</strong>.</p>\n",
            text(&certificate["subject"]),
            text(&certificate["not_before"]),
            text(&certificate["not_after"]),
        ),
        Some(left) => {
            let days = left / 86_400;
            let class = match days {
                0..=1 => "bad",
                2..=30 => "warn",
                _ => "good",
            };
            format!(
                "<p>{}, until {}: <strong class=\"{class}\">{days} days</strong>.</p>\n",
                text(&certificate["subject"]),
                text(&certificate["not_after"]),
            )
        }
    };
    let store = &status["recovery_store"];
    let unwritten = store["unwritten"].as_u64().unwrap_or(0);
    let store = match () {
        () if store["waits_for_key"] == true => {
            "<strong class=\"bad\">waits for its key: what was registered before the start is not known</strong>".to_owned()
        }
        () if store["exists"] != true => "none: a restart forgets".to_owned(),
        () if unwritten > 0 => format!("<strong class=\"bad\">{unwritten} records are not written yet</strong>"),
        () => "holds everything".to_owned(),
    };
    format!("{tls}<p>Recovery store: {store}.</p>\n{}", audit_trail(&status["audit"]))
}

fn audit_trail(trail: &Value) -> String {
    if trail.is_null() {
        return "<p>Audit trail: off.</p>\n".to_owned();
    }
    let number = |name: &str| trail[name].as_u64().unwrap_or(0);
    let waits = number("waiting") > 0 && number("write_failures") > 0;
    let sealed = match trail["seconds_since_sealed"].as_u64() {
        _ if waits => {
            format!("<strong class=\"bad\">cannot be written: {} records wait</strong>", number("waiting"))
        }
        None => "<strong class=\"bad\">not written yet: the log says why</strong>".to_owned(),
        Some(seconds) => format!(
            "{} records since the start, sealed {} s ago",
            thousands(number("written")),
            thousands(seconds)
        ),
    };
    let lost = match number("lost") {
        0 => String::new(),
        lost => format!("; <strong class=\"bad\">{} records lost</strong>", thousands(lost)),
    };
    format!("<p>Audit trail in {}: {sealed}{lost}.</p>\n", text(&trail["directory"]))
}

/// Cells of so many characters are not broken.
const SHORT: usize = 24;

/// The characters of a cell that a person sees: no tags, and one for each escape.
fn seen(cell: &str) -> usize {
    let (mut count, mut within) = (0, None);
    for character in cell.chars() {
        match (within, character) {
            (None, '<') => within = Some('>'),
            (None, '&') => {
                within = Some(';');
                count += 1;
            }
            (Some(end), character) if character == end => within = None,
            (Some(_), _) => {}
            (None, _) => count += 1,
        }
    }
    count
}

/// A table whose cells are markup already; `empty` stands where there are no rows.
pub(crate) fn table_of(
    id: &str,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
    empty: &str,
) -> String {
    let mut body = String::new();
    for row in rows {
        let cells = row.into_iter().enumerate().map(|(n, cell)| {
            let class = if seen(&cell) <= SHORT { " class=\"short\"" } else { "" };
            match n {
                0 => format!("<th{class} scope=\"row\">{cell}</th>"),
                _ => format!("<td{class} data-head=\"{}\">{cell}</td>", head.get(n).unwrap_or(&"")),
            }
        });
        _ = writeln!(body, "<tr>{}</tr>", cells.collect::<String>());
    }
    if body.is_empty() {
        return if empty.is_empty() { String::new() } else { format!("<p>{empty}</p>\n") };
    }
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        "<div class=\"wide\" role=\"region\" aria-labelledby=\"{id}-caption\" tabindex=\"0\">\n<table id=\"{id}\">\n\
         <caption id=\"{id}-caption\">{id}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_peers_say_is_text_and_no_markup() {
        let evil = "<script>alert(1)</script>\"'&";
        let status = json!({
            "ready": true, "state": "serving", "policy": {"minimum": "aes-ctr", "target": "aes-gcm"},
            "disks": [{"root": evil, "health": "failed", "why": evil, "remedy": "x"}],
            "shares": [{"name": evil, "used": 1, "total": 0, "waiting": 3}],
            "certificate": {"subject": evil, "not_after": "2026-01-01T00:00:00Z", "seconds_left": 3600},
            "served": [{"channel": evil, "handshake": "x", "cipher": "y", "bytes": 1}],
            "refusals": {"limit": 2, "tls_not_configured": 0},
            "audit": {"directory": evil, "waiting": 0, "lost": 1200, "seconds_since_sealed": 3, "written": 5},
        });
        let applications = json!({"applications": [
            {"app": evil, "user": evil, "running": true, "advice": evil, "channels": [{"channel": evil, "counts": true}],
             "last_refusal": {"reason": evil, "peer": evil, "at": null}, "refused": 1},
        ]});
        let page = page(&status, &applications);
        assert!(!page.contains("<script>alert") && !page.contains("\"'&"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("By reason: 2 limit.") && !page.contains("tls_not_configured"));
        assert!(page.contains("<strong class=\"bad\">failed</strong>"));
        assert!(page.contains(
            "5 records since the start, sealed 3 s ago; <strong class=\"bad\">1\u{202f}200 records lost</strong>"
        ));
        assert_eq!(page.matches("<script").count(), 1, "its own alone");
    }

    #[test]
    fn word_of_a_cell_is_not_broken_whatever_markup_it_has() {
        let cells = [
            "1 day &amp; a &lt;night&gt; long",
            "<strong class=\"bad\">missing</strong>",
            &"long ".repeat(9),
        ];
        let row = cells.map(str::to_owned).to_vec();
        let table = table_of("x", &["a", "b", "c"], [row].into_iter(), "");
        assert_eq!(table.matches("class=\"short\"").count(), 2, "{table}");
        assert!(
            table.contains("<th class=\"short\" scope=\"row\">") && table.contains("<td data-head=\"c\">"),
            "{table}"
        );
    }

    #[test]
    fn page_asks_for_nothing_from_elsewhere() {
        let page = page(&Value::Null, &Value::Null);
        for text in [&*page, SCRIPT, STYLE] {
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("//www"), "{text}");
        }
        assert!(
            !page.contains(" style=") && !page.contains(" onclick="),
            "the policy of the page forbids it"
        );
    }
}
