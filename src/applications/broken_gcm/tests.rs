use super::*;

const OPENING: &[u8] = b"the blocks of one task";
const OTHER: &[u8] = b"the blocks of another";

/// A client's own deadline.
const DEADLINE: Duration = Duration::from_secs(120);
const MOMENT: Duration = Duration::from_millis(3);
const WAIT: Duration = Duration::from_secs(5);

/// A server's memory and a clock.
struct Scene {
    known: BrokenGcm,
    now: Instant,
    streams: i64,
}

/// One connection and the last stream opened on it.
struct Dialogue {
    on: Listening,
    stream: StreamId,
}

impl Scene {
    fn new() -> Self {
        Self { known: BrokenGcm::default(), now: Instant::now(), streams: 0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn connect_as(&mut self, app: &str, address: [u8; 4]) -> Result<Dialogue, Denial> {
        let peer = Peer { app: AppId::new(app), address: address.into() };
        let on = self.known.listen(peer, self.now)?;
        Ok(Dialogue { on, stream: StreamId(0) })
    }

    fn connect(&mut self) -> Dialogue {
        self.connect_as("app-1", [10, 0, 0, 1]).expect("nobody is known to be broken")
    }

    fn open(&mut self, dialogue: &mut Dialogue, body: &[u8]) -> Answer {
        self.streams += 1;
        dialogue.stream = StreamId(self.streams);
        dialogue.on.requested(self.now);
        self.known.opened(&mut dialogue.on, body, dialogue.stream, self.now)
    }

    fn ask(&mut self, dialogue: &mut Dialogue) {
        self.pass(MOMENT);
        dialogue.on.requested(self.now);
        self.known.asked(&mut dialogue.on, dialogue.stream, self.now);
    }

    fn give_up_after(&mut self, dialogue: Dialogue, silence: Duration) {
        self.pass(silence);
        self.known.fell_silent(dialogue.on, self.now);
        self.pass(WAIT);
    }

    /// What a broken client does with one request: the answer that it was given.
    fn broken_try(&mut self, body: &[u8]) -> Answer {
        let mut dialogue = self.connect();
        let answer = self.open(&mut dialogue, body);
        if answer == Answer::Whole {
            self.ask(&mut dialogue);
        }
        self.give_up_after(dialogue, DEADLINE);
        answer
    }

    /// What a healthy client does with one request.
    fn healthy_try(&mut self, body: &[u8], idle: Duration) -> Answer {
        let mut dialogue = self.connect();
        let answer = self.open(&mut dialogue, body);
        self.ask(&mut dialogue);
        self.give_up_after(dialogue, idle);
        answer
    }

    fn convict(&mut self) {
        let tries = [(); 3].map(|()| self.broken_try(OPENING));
        assert_eq!(tries, [Answer::InTwo, Answer::Whole, Answer::Refusal]);
    }

    fn is_refused(&mut self) -> bool {
        self.connect_as("app-1", [10, 0, 0, 1]).is_err()
    }
}

#[test]
fn a_broken_client_is_refused_at_its_third_try() {
    let mut scene = Scene::new();
    scene.convict();
    assert!(scene.is_refused());
    assert!(scene.connect_as("app-2", [10, 0, 0, 1]).is_ok());
    assert!(scene.connect_as("app-1", [10, 0, 0, 2]).is_ok());
}

#[test]
fn verdict_is_forgotten_after_a_while_and_with_its_application() {
    let mut scene = Scene::new();
    scene.convict();
    scene.pass(REMEMBERED + WAIT);
    assert!(!scene.is_refused());

    let mut scene = Scene::new();
    scene.convict();
    scene.known.forget(&AppId::new("app-1"));
    assert!(!scene.is_refused());
}

#[test]
fn tasks_that_share_the_connection_do_not_hide_it() {
    let mut scene = Scene::new();
    for (first, second) in [(OPENING, OTHER), (OTHER, OPENING)] {
        let mut dialogue = scene.connect();
        let answer = scene.open(&mut dialogue, first);
        let stream = dialogue.stream;
        assert_eq!(scene.open(&mut dialogue, second), Answer::Whole);
        if answer == Answer::Whole {
            dialogue.stream = stream;
            scene.ask(&mut dialogue);
        }
        scene.give_up_after(dialogue, DEADLINE);
    }
    assert_eq!(scene.broken_try(OPENING), Answer::Refusal);
}

#[test]
fn same_block_fetched_in_a_loop_is_tested_once_and_never_refused() {
    let mut scene = Scene::new();
    assert_eq!(scene.healthy_try(OPENING, MOMENT), Answer::InTwo);
    for idle in [MOMENT, DEADLINE, DEADLINE, DEADLINE, MOMENT] {
        assert_eq!(scene.healthy_try(OPENING, idle), Answer::Whole);
    }
    scene.pass(REMEMBERED);
    assert_eq!(scene.healthy_try(OPENING, DEADLINE), Answer::InTwo);
    assert!(!scene.is_refused());
}

#[test]
fn client_killed_before_it_could_ask_is_no_evidence() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        let mut dialogue = scene.connect();
        assert_eq!(scene.open(&mut dialogue, OPENING), Answer::InTwo);
        scene.give_up_after(dialogue, SILENCE - MOMENT);
    }
}

/// An executor freezes in the test and is killed; its successors read the same blocks again and again.
#[test]
fn one_frozen_executor_does_not_convict_its_successors() {
    let mut scene = Scene::new();
    let mut frozen = scene.connect();
    scene.open(&mut frozen, OPENING);
    scene.give_up_after(frozen, DEADLINE);
    for idle in [MOMENT, Duration::from_secs(60), Duration::from_secs(90)] {
        // Heard in one message: nothing is proven, nothing held against it, and the next one is tested.
        assert_eq!(scene.healthy_try(OPENING, idle), Answer::Whole);
        assert_eq!(scene.healthy_try(OPENING, idle), Answer::InTwo);
        assert_eq!(scene.healthy_try(OPENING, idle), Answer::Whole);
        scene.known.forget(&AppId::new("app-1"));
        let mut frozen = scene.connect();
        scene.open(&mut frozen, OPENING);
        scene.give_up_after(frozen, DEADLINE);
    }
    assert!(!scene.is_refused());
}

#[test]
fn healthy_successor_that_goes_on_is_known_to_hear() {
    let mut scene = Scene::new();
    let mut frozen = scene.connect();
    scene.open(&mut frozen, OPENING);
    scene.give_up_after(frozen, DEADLINE);

    let mut successor = scene.connect();
    assert_eq!(scene.open(&mut successor, OPENING), Answer::Whole);
    scene.ask(&mut successor);
    scene.open(&mut successor, OTHER);
    scene.ask(&mut successor);
    scene.give_up_after(successor, DEADLINE);
    for _ in 0..3 {
        assert_eq!(scene.healthy_try(OPENING, DEADLINE), Answer::Whole);
    }
    assert!(!scene.is_refused());
}

/// Slow to hear is not deaf: the contrast shows the same slowness.
#[test]
fn slow_reader_is_never_refused() {
    let mut scene = Scene::new();
    for _ in 0..6 {
        let mut dialogue = scene.connect();
        let answer = scene.open(&mut dialogue, OPENING);
        assert_ne!(answer, Answer::Refusal);
        if answer == Answer::Whole {
            scene.pass(DEADLINE / 2);
            scene.ask(&mut dialogue);
        }
        scene.give_up_after(dialogue, DEADLINE);
    }
    assert!(!scene.is_refused());
}

#[test]
fn what_is_asked_again_late_or_otherwise_is_another_story() {
    let mut scene = Scene::new();
    scene.broken_try(OPENING);
    assert_eq!(scene.broken_try(OTHER), Answer::InTwo);
    scene.pass(AGAIN);
    assert_eq!(scene.broken_try(OPENING), Answer::InTwo);
    assert_eq!(scene.broken_try(OPENING), Answer::Whole);
    scene.pass(AGAIN);
    assert_eq!(scene.broken_try(OPENING), Answer::InTwo);
}

#[test]
fn chunk_of_a_stream_that_was_not_opened_here_proves_nothing() {
    let mut scene = Scene::new();
    let mut dialogue = scene.connect();
    scene.open(&mut dialogue, OPENING);
    dialogue.stream = StreamId(-7);
    scene.ask(&mut dialogue);
    scene.give_up_after(dialogue, DEADLINE);
    assert_eq!(scene.broken_try(OPENING), Answer::Whole);
}

#[test]
fn memory_is_bounded() {
    let mut scene = Scene::new();
    for n in 0..u32::try_from(PEERS).unwrap() + 100 {
        let mut dialogue = scene.connect_as("app-1", (0x0a00_0000 + n).to_be_bytes()).unwrap();
        scene.open(&mut dialogue, OPENING);
        scene.ask(&mut dialogue);
    }
    assert!(scene.known.peers().len() <= PEERS);
    for n in 0..100_u32 {
        let mut dialogue = scene.connect();
        for m in 0..100_u32 {
            scene.open(&mut dialogue, &(100 * n + m).to_be_bytes());
        }
        scene.give_up_after(dialogue, SILENCE);
    }
    let peers = scene.known.peers();
    let trials = peers.values().map(|known| match &known.hearing {
        Hearing::Suspect(trials) => trials.iter().map(|trial| trial.openings.len()).collect(),
        _ => Vec::new(),
    });
    assert!(
        trials
            .into_iter()
            .all(|openings| openings.len() <= TRIALS && openings.iter().all(|n| *n <= OPENINGS))
    );
}
