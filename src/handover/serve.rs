//! The server's end: accepts a connection, checks its user, takes its lines and answers them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::Lane;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::lines::{LineError, Lines};
use super::message::{Message, is_plain};
use super::{EventError, GREETING, HELD, Receiver};
use crate::local_socket::{LocalSocket, peer_user};

/// Most connections at once. Further ones wait in the backlog. One is enough in practice.
const PLACES: usize = 8;

/// Time for the greeting, for the rest of a line, and for the peer to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes events at `socket` until `stop` resolves. The socket is removed then.
pub async fn run(socket: LocalSocket, receiver: Arc<dyn Receiver>, stop: impl Future<Output = ()>) {
    run_asking(socket, receiver, stop, peer_user).await;
}

/// The same as [`run`], with another way to learn the user of a peer.
pub(super) async fn run_asking(
    socket: LocalSocket,
    receiver: Arc<dyn Receiver>,
    stop: impl Future<Output = ()>,
    peer_user: impl Fn(&UnixStream) -> io::Result<u32>,
) {
    let places = Arc::new(Semaphore::new(PLACES));
    // What is handed over may wait for the disk of the recovery store.
    let lane = Lane::new(PLACES);
    let mut connections = JoinSet::new();
    let take = |stream, user, place| {
        while connections.try_join_next().is_some() {}
        if socket.admits(user) {
            debug!(user, "applications are handed over from now on");
            let (receiver, lane) = (Arc::clone(&receiver), lane.clone());
            connections.spawn(async move {
                let _place: OwnedSemaphorePermit = place;
                match serve(stream, receiver, lane).await {
                    Ok(()) => debug!(user, "who handed over applications has gone"),
                    Err(error) => warn!(user, %error, "closed a connection for handing over"),
                }
            });
        } else {
            warn!(user, "refused to take applications from a user: name it in spark.sealed.handover.users");
            connections.spawn(refuse(stream, user, place));
        }
    };
    socket.accept_loop(places, stop, peer_user, take).await;
}

async fn refuse(mut stream: UnixStream, user: u32, _place: OwnedSemaphorePermit) {
    let text = format!("user {user} may not hand over applications: name it in spark.sealed.handover.users");
    // A peer that does not read the answer is refused all the same.
    answer(&mut stream, Err(EventError::Refused(text))).await.ok();
}

async fn serve(mut stream: UnixStream, receiver: Arc<dyn Receiver>, lane: Lane) -> Result<(), LineError> {
    let mut lines = Lines::new();
    let mut greeted = false;
    loop {
        let line = match lines.next(&mut stream, PATIENCE, !greeted).await {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(LineError::Io(error)) => return Err(error.into()),
            Err(error) => {
                answer(&mut stream, Err(EventError::Refused(error.to_string()))).await?;
                return Err(error);
            }
        };
        if !greeted {
            greeted = line == GREETING.as_bytes();
            let welcome = match greeted {
                true => Ok(Answer::Done),
                false => Err(EventError::Refused(format!("the first line is not `{GREETING}`"))),
            };
            answer(&mut stream, welcome).await?;
            if !greeted {
                return Ok(());
            }
            continue;
        }
        let done = match Message::parse(line) {
            Ok(message) => perform(message, &receiver, &lane).await,
            Err(refused) => Err(refused),
        };
        if let Err(EventError::Refused(text) | EventError::Failed(text)) = &done {
            warn!("an event that was handed over was not taken: {text}");
        }
        answer(&mut stream, done).await?;
    }
}

/// What a line brought about.
enum Answer {
    Done,
    Held(Vec<AppId>),
}

async fn perform(message: Message, receiver: &Arc<dyn Receiver>, lane: &Lane) -> Result<Answer, EventError> {
    let receiver = Arc::clone(receiver);
    let done = lane.run(move |_| match message {
        Message::Started(app, given) => {
            debug!(%app, with_secret = given.secret.is_some(), "an application is handed over");
            receiver.started(&app, given).map(|()| Answer::Done)
        }
        Message::Ended(app) => {
            debug!(%app, "the end of an application is handed over");
            receiver.ended(&app).map(|()| Answer::Done)
        }
        Message::ExecutorEnded(app, executor) => {
            debug!(%app, %executor, "the end of an executor was handed over");
            receiver.executor_ended(&app, &executor).map(|()| Answer::Done)
        }
        Message::Held => Ok(Answer::Held(receiver.held())),
    });
    done.await.unwrap_or_else(|error| Err(EventError::Failed(format!("it was cut short: {error}"))))
}

async fn answer(stream: &mut UnixStream, done: Result<Answer, EventError>) -> io::Result<()> {
    let line = match done {
        Ok(Answer::Done) => "ok\n".to_owned(),
        Ok(Answer::Held(apps)) => {
            // An id that no line can hold was not handed over.
            let apps = apps.iter().map(AppId::as_str).filter(|app| is_plain(app));
            let words: Vec<&str> = [HELD].into_iter().chain(apps).collect();
            format!("{}\n", words.join(" "))
        }
        Err(EventError::Refused(text)) => format!("refused {}\n", one_line(&text)),
        Err(EventError::Failed(text)) => format!("failed {}\n", one_line(&text)),
    };
    timeout(PATIENCE, stream.write_all(line.as_bytes())).await?
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
