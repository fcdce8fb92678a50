//! What the pages of a standalone Worker and its Master tell of executors and applications that are over.
//!
//! ```text
//! Worker  /json/   id, masterwebuiurl, executors[], finishedexecutors[]    each with id and appid
//! Master  /json/   activeapps[], completedapps[]                           each with id and state
//! ```
//!
//! | over | when |
//! |---|---|
//! | an executor | its Worker lists it as finished, or no longer lists it though it ran there |
//! | an application | its Master lists it as completed, and no Worker here runs an executor of it |
//!
//! A page that is missing, or that is not a Worker's or a Master's, ends nothing. Neither does a Worker that has begun
//! anew: it does not know what ran before. An application without executors on this node is not over: others may read what
//! it wrote here.
//!
//! Origin: `JsonProtocol.writeWorkerState` and `writeMasterState`, `Worker.maybeCleanupApplication`, Spark 4.3.0.

use std::collections::HashSet;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use serde_json::Value;
use thiserror::Error;

use super::message::is_plain;

/// States of an application in which nothing more comes of it (`ApplicationState`, Spark 4.3.0).
const OVER: [&str; 3] = ["FINISHED", "FAILED", "KILLED"];

/// An executor of an application.
pub type Executor = (AppId, ExecutorId);

/// The page is not what it should be.
#[derive(Debug, Error)]
#[error("it is not the page of a {of} of Spark: {why}")]
pub struct OddPage {
    of: &'static str,
    why: String,
}

/// The page of a Worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkerPage {
    id: String,
    /// Where the Master's page is, as the Worker knows it.
    pub master: String,
    running: HashSet<Executor>,
    finished: HashSet<Executor>,
}

/// The page of a Master.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MasterPage {
    active: HashSet<AppId>,
    over: HashSet<AppId>,
}

impl WorkerPage {
    /// Parses it.
    pub fn parse(bytes: &[u8]) -> Result<Self, OddPage> {
        let odd = |why: &str| OddPage { of: "Worker", why: why.to_owned() };
        let page: Value = serde_json::from_slice(bytes).map_err(|error| odd(&error.to_string()))?;
        let text = |key: &str| page[key].as_str().ok_or_else(|| odd(&format!("no {key}")));
        let list = |key: &str| -> Result<HashSet<Executor>, OddPage> {
            let list = page[key].as_array().ok_or_else(|| odd(&format!("no {key}")))?;
            list.iter().map(|value| executor(value).ok_or_else(|| odd("an executor without an id"))).collect()
        };
        Ok(Self {
            id: text("id")?.to_owned(),
            master: text("masterwebuiurl")?.to_owned(),
            running: list("executors")?,
            finished: list("finishedexecutors")?,
        })
    }
}

impl MasterPage {
    /// Parses it. A Master that waits for another one to fail knows no applications.
    pub fn parse(bytes: &[u8]) -> Result<Self, OddPage> {
        let odd = |why: &str| OddPage { of: "Master", why: why.to_owned() };
        let page: Value = serde_json::from_slice(bytes).map_err(|error| odd(&error.to_string()))?;
        let list = |key: &str| page[key].as_array().ok_or_else(|| odd(&format!("no {key}")));
        let active = list("activeapps")?.iter().filter_map(|app| plain(app["id"].as_str()?).map(AppId::new));
        let is_over = |app: &&Value| app["state"].as_str().is_some_and(|state| OVER.contains(&state));
        let over = list("completedapps")?.iter().filter(is_over);
        let over = over.filter_map(|app| plain(app["id"].as_str()?).map(AppId::new));
        Ok(Self { active: active.collect(), over: over.collect() })
    }
}

/// Numbers of executors stand as numbers there.
fn executor(value: &Value) -> Option<Executor> {
    let id = match &value["id"] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let app = plain(value["appid"].as_str()?)?;
    Some((AppId::new(app), ExecutorId::new(plain(&id)?)))
}

/// An id that can stand in a line.
fn plain(id: &str) -> Option<&str> {
    is_plain(id).then_some(id)
}

/// What was seen of one Worker.
#[derive(Debug, Default)]
pub struct WorkerWatch {
    id: Option<String>,
    running: HashSet<Executor>,
    over: HashSet<Executor>,
}

impl WorkerWatch {
    /// Takes a page in. The executors that are over: all that are known, also those that were over before.
    pub fn see(&mut self, page: &WorkerPage) -> &HashSet<Executor> {
        if self.id.as_ref() != Some(&page.id) {
            // Whatever ran before belonged to a Worker that is gone; nobody says what became of it.
            *self = Self { id: Some(page.id.clone()), ..Self::default() };
        }
        let vanished = self.running.difference(&page.running).cloned();
        // A Worker lists the last thousand or so, and what it no longer lists was told.
        let listed: HashSet<Executor> = page.finished.iter().cloned().chain(vanished).collect();
        self.over = listed.into_iter().filter(|executor| !page.running.contains(executor)).collect();
        self.running.clone_from(&page.running);
        &self.over
    }
}

/// The applications that are over: completed, and nothing of them runs on any of these Workers.
pub fn over<'a>(master: &'a MasterPage, workers: &'a [WorkerPage]) -> impl Iterator<Item = &'a AppId> {
    let runs = |app: &AppId| workers.iter().any(|page| page.running.iter().any(|(of, _)| of == app));
    master.over.iter().filter(move |app| !master.active.contains(*app) && !runs(app))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn executors(list: &[(&str, u64)]) -> Value {
        let executor =
            |(app, id): &(&str, u64)| json!({"id": id, "appid": app, "memory": 1024, "appdesc": {}});
        list.iter().map(executor).collect()
    }

    fn page(id: &str, running: &[(&str, u64)], finished: &[(&str, u64)]) -> WorkerPage {
        let page = json!({
            "id": id, "masterurl": "spark://m:7077", "masterwebuiurl": "http://m:8080", "cores": 2,
            "executors": executors(running), "finishedexecutors": executors(finished),
        });
        WorkerPage::parse(page.to_string().as_bytes()).unwrap()
    }

    fn seen(watch: &mut WorkerWatch, page: &WorkerPage) -> Vec<String> {
        let mut over: Vec<_> = watch.see(page).iter().map(|(app, id)| format!("{app}/{id}")).collect();
        over.sort();
        over
    }

    fn master(active: &[&str], completed: &[(&str, &str)]) -> MasterPage {
        let active: Value = active.iter().map(|app| json!({"id": app, "state": "RUNNING"})).collect();
        let completed: Value =
            completed.iter().map(|(app, state)| json!({"id": app, "state": state})).collect();
        let page = json!({"url": "spark://m:7077", "activeapps": active, "completedapps": completed});
        MasterPage::parse(page.to_string().as_bytes()).unwrap()
    }

    fn ended(master: &MasterPage, workers: &[WorkerPage]) -> Vec<String> {
        let mut all: Vec<_> = over(master, workers).map(ToString::to_string).collect();
        all.sort();
        all
    }

    #[test]
    fn executors_are_over_that_are_finished_or_no_longer_listed() {
        let mut watch = WorkerWatch::default();
        assert_eq!(seen(&mut watch, &page("w", &[("a", 0), ("a", 1)], &[("b", 7)])), ["b/7"]);
        assert_eq!(seen(&mut watch, &page("w", &[("a", 1), ("a", 2)], &[("a", 0)])), ["a/0"]);
        // It keeps no list of what has finished.
        assert_eq!(seen(&mut watch, &page("w", &[("a", 2)], &[])), ["a/1"]);
    }

    #[test]
    fn a_worker_that_begins_anew_says_nothing_of_what_ran_before() {
        let mut watch = WorkerWatch::default();
        seen(&mut watch, &page("w-1", &[("a", 0)], &[]));
        assert!(seen(&mut watch, &page("w-2", &[], &[])).is_empty());
        assert!(seen(&mut watch, &page("w-2", &[("a", 3)], &[])).is_empty());
        // The control: the same Worker does.
        assert_eq!(seen(&mut watch, &page("w-2", &[], &[])), ["a/3"]);
    }

    #[test]
    fn an_executor_that_runs_is_not_over_whatever_else_is_listed() {
        let mut watch = WorkerWatch::default();
        assert!(seen(&mut watch, &page("w", &[("a", 0)], &[("a", 0)])).is_empty());
    }

    #[test]
    fn an_application_is_over_when_it_is_completed_and_nothing_of_it_runs_here() {
        let none = page("w", &[], &[("a", 0), ("b", 0)]);
        let runs = page("v", &[("a", 1)], &[]);
        let completed =
            [("a", "FINISHED"), ("b", "FAILED"), ("c", "KILLED"), ("d", "UNKNOWN"), ("e", "WAITING")];
        let said = master(&["f"], &completed);
        assert_eq!(ended(&said, std::slice::from_ref(&none)), ["a", "b", "c"]);
        assert_eq!(ended(&said, &[none.clone(), runs]), ["b", "c"]);
        assert_eq!(ended(&master(&["a"], &completed), std::slice::from_ref(&none)), ["b", "c"]);
        assert!(ended(&master(&[], &[]), &[none]).is_empty(), "an application that nobody lists may live");
    }

    #[test]
    fn other_pages_and_ids_that_no_line_can_hold_end_nothing() {
        for text in ["", "<html>", "[]", "{}", r#"{"id":"w","masterwebuiurl":"","executors":[]}"#] {
            assert!(WorkerPage::parse(text.as_bytes()).is_err(), "{text}");
            assert!(MasterPage::parse(text.as_bytes()).is_err(), "{text}");
        }
        let odd = r#"{"id":"w","masterwebuiurl":"","executors":[],"finishedexecutors":[{"id":1,"appid":"a\nended b"}]}"#;
        assert!(WorkerPage::parse(odd.as_bytes()).is_err());
        let odd = r#"{"activeapps":[],"completedapps":[{"id":"a\nended b","state":"FINISHED"}]}"#;
        assert!(ended(&MasterPage::parse(odd.as_bytes()).unwrap(), &[]).is_empty());
    }
}
