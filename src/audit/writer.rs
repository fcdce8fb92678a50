//! The one thread that writes the trail.
//!
//! Records that wait together are written together, a few times a second: lines first, which are brought to the disk, and
//! then the head. A file that was changed, cut, or taken away meanwhile is not written to any more; the next one says so.
//! What cannot be written waits, and is tried again every second; that is said once, until it works again.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use sealed_shuffle_config::AuditConfig;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use tracing::{error, info, warn};

use super::Inner;
use super::file::{self, Header};
use super::head::Head;
use super::line::{self, AuditKey, Hash, Sealed};
use super::queue::Batch;
use super::record::{Record, stamp};
use super::trail::{Place, Trail};

/// Nobody leads us elsewhere.
const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Between two writes: so often the disk is asked to sync at most.
const PACE: Duration = Duration::from_millis(250);

/// Between two attempts where writing fails.
const PAUSE: Duration = Duration::from_secs(1);

/// It wakes up by itself where nothing comes; it has nothing to do then.
const QUIET: Duration = Duration::from_secs(3600);

/// Writes the trail of one server.
pub(super) struct Writer {
    config: AuditConfig,
    key: Arc<AuditKey>,
    wrapped: WrappedKey,
    /// The numbers of the files that are kept.
    files: Vec<u64>,
    open: Option<OpenFile>,
    seq: u64,
    prev: Hash,
    /// The head does not tell of the last record yet.
    head_is_behind: bool,
    /// Held as long as it writes: another server waits.
    _lock: File,
}

/// The file that is written to.
struct OpenFile {
    number: u64,
    path: PathBuf,
    file: File,
    length: u64,
    inode: u64,
}

impl Writer {
    /// Goes on where `trail` ends. `old` is the key that sealed its end, where it is to be had.
    pub(super) fn begin(
        on: &OnLane,
        config: AuditConfig,
        (key, wrapped): (AuditKey, WrappedKey),
        old: Option<&AuditKey>,
        trail: &Trail,
        lock: File,
    ) -> io::Result<Self> {
        let key = Arc::new(key);
        let mut writer = Self {
            config,
            key,
            wrapped,
            files: Vec::new(),
            open: None,
            seq: 0,
            prev: line::NOTHING,
            head_is_behind: false,
            _lock: lock,
        };
        writer.go_on(on, trail, None, old)?;
        Ok(writer)
    }

    /// Writes what comes until the queue is closed and empty.
    pub(super) fn run(mut self, inner: &Inner) {
        let on = OnLane::here();
        let (mut batch, mut fails) = (Batch::default(), false);
        inner.is_sealed();
        loop {
            let patience = if fails { PAUSE } else { QUIET };
            let may_come = inner.queue.take(&mut batch, patience);
            let began = Instant::now();
            let written = self.write(&on, &mut batch, inner);
            match &written {
                Err(error) => {
                    inner.counters.failures.inc();
                    if !fails {
                        let dir = self.config.dir.display();
                        error!(%error, %dir, waiting = batch.records.len(), "the audit trail is not written: records wait, and are lost when too many do (spark.sealed.audit.dir)");
                    }
                    // What was being written may be half there.
                    self.open = None;
                }
                Ok(()) if fails => {
                    let lost = inner.counters.lost.get();
                    info!(lost, "the audit trail is written again");
                }
                Ok(()) => {}
            }
            fails = written.is_err();
            inner.held.store(batch.records.len(), Ordering::Relaxed);
            if !fails {
                inner.is_sealed();
            }
            if !may_come && (fails || batch.records.is_empty()) {
                break;
            }
            let pace = if fails { PAUSE } else { PACE };
            if may_come {
                std::thread::sleep(pace.saturating_sub(began.elapsed()));
            }
        }
        if fails {
            warn!(records = batch.records.len(), "the last records of the audit trail are lost");
            inner.queue.give_up(batch);
        }
    }

    /// Writes all of a batch; what is written is taken out of it.
    fn write(&mut self, on: &OnLane, batch: &mut Batch, inner: &Inner) -> io::Result<()> {
        if batch.records.is_empty() && batch.lost == 0 && !self.head_is_behind {
            return Ok(());
        }
        self.check(on)?;
        if batch.lost > 0 {
            let record = Record::now("records_lost").value("records", batch.lost);
            self.append(on, &mut [record].into(), inner)?;
            batch.lost = 0;
        }
        while !batch.records.is_empty() {
            self.append(on, &mut batch.records, inner)?;
        }
        self.write_head(on)
    }

    /// Whether the file is still the one that was written to; else, and after a failure, looks where the trail goes on.
    fn check(&mut self, on: &OnLane) -> io::Result<()> {
        if let Some(open) = &self.open {
            let is_there = std::fs::symlink_metadata(&open.path)
                .is_ok_and(|found| found.ino() == open.inode && found.len() == open.length);
            if is_there {
                return Ok(());
            }
        }
        self.open = None;
        let trail = Trail::look(on, &self.config.dir)?;
        let known = Place { seq: self.seq, prev: self.prev };
        let key = Arc::clone(&self.key);
        let done = self.go_on(on, &trail, Some(&known), Some(&key));
        if done.is_err() {
            // The next look compares with what was written last.
            (self.seq, self.prev) = (known.seq, known.prev);
        }
        done
    }

    /// Takes up a trail as it was found: goes on in its last file, or begins another where that cannot be.
    fn go_on(
        &mut self,
        on: &OnLane,
        trail: &Trail,
        known: Option<&Place>,
        old: Option<&AuditKey>,
    ) -> io::Result<()> {
        let (place, broken) = trail.place(known, old);
        (self.seq, self.prev) = (place.seq, place.prev);
        self.files.clone_from(&trail.files);
        if let Some(broken) = &broken {
            error!(dir = %self.config.dir.display(), "the audit trail was changed by somebody else: {broken}");
        }
        let end = trail.end.as_ref().filter(|end| {
            broken.is_none()
                && trail.torn.is_none()
                && end.key == self.wrapped
                && trail.files.last() == Some(&end.file)
        });
        if let Some(end) = end {
            let path = file::path_of(&self.config.dir, end.file);
            let file = OpenOptions::new().append(true).custom_flags(NO_LINK).open(&path)?;
            let found = file.metadata()?;
            if found.len() == end.length {
                self.open =
                    Some(OpenFile { number: end.file, path, file, length: end.length, inode: found.ino() });
                return Ok(());
            }
        }
        let number = trail.files.last().map_or(1, |last| last + 1);
        if trail.files.is_empty() {
            // So that a trail never lacks its head.
            self.head(number).write(on, &self.config.dir, &self.key)?;
        }
        let header = Header { file: number, key: self.wrapped.clone(), torn: trail.torn.clone(), broken };
        self.begin_file(on, &header)
    }

    fn begin_file(&mut self, on: &OnLane, header: &Header) -> io::Result<()> {
        let path = file::path_of(&self.config.dir, header.file);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let inode = file.metadata()?.ino();
        let mut open = OpenFile { number: header.file, path, file, length: 0, inode };
        let mut sealing = Sealing { key: &self.key, seq: self.seq, prev: self.prev, text: String::new() };
        sealing.add(&header.record());
        let (text, seq, prev) = (sealing.text, sealing.seq, sealing.prev);
        if let Err(error) = open.append(&text) {
            // It has nothing yet.
            _ = remove_file(&open.path);
            return Err(error);
        }
        (self.seq, self.prev) = (seq, prev);
        self.files.push(open.number);
        self.open = Some(open);
        self.head_is_behind = true;
        self.write_head(on)?;
        self.remove_old(on)
    }

    /// Writes records until the file is full or none is left, and begins another file where it was full.
    fn append(
        &mut self,
        on: &OnLane,
        records: &mut std::collections::VecDeque<Record>,
        inner: &Inner,
    ) -> io::Result<()> {
        let full = self.config.file_size.as_u64();
        if self.open.as_ref().is_none_or(|open| open.length >= full) {
            let number = self.files.last().map_or(1, |last| last + 1);
            let header = Header { file: number, key: self.wrapped.clone(), torn: None, broken: None };
            self.begin_file(on, &header)?;
        }
        let Some(open) = &mut self.open else { return Err(io::Error::other("there is no file")) };
        let mut sealing = Sealing { key: &self.key, seq: self.seq, prev: self.prev, text: String::new() };
        let mut count = 0;
        for record in records.iter() {
            sealing.add(record);
            count += 1;
            if open.length + sealing.text.len() as u64 >= full {
                break;
            }
        }
        open.append(&sealing.text)?;
        (self.seq, self.prev) = (sealing.seq, sealing.prev);
        self.head_is_behind = true;
        drop(records.drain(..count));
        inner.counters.written.inc_by(count as u64);
        Ok(())
    }

    fn head(&self, first: u64) -> Head {
        Head { first, seq: self.seq, hash: self.prev, key: self.wrapped.clone() }
    }

    fn write_head(&mut self, on: &OnLane) -> io::Result<()> {
        let first = self.first();
        self.head(first).write(on, &self.config.dir, &self.key)?;
        self.head_is_behind = false;
        Ok(())
    }

    /// The oldest file that is kept.
    fn first(&self) -> u64 {
        let keep = usize::try_from(self.config.files).unwrap_or(usize::MAX);
        let over = self.files.len().saturating_sub(keep);
        self.files.get(over).copied().unwrap_or(1)
    }

    /// Removes the files that are too many; the head tells of it by then.
    fn remove_old(&mut self, _: &OnLane) -> io::Result<()> {
        let first = self.first();
        for number in self.files.extract_if(.., |number| *number < first).collect::<Vec<_>>() {
            match remove_file(file::path_of(&self.config.dir, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl OpenFile {
    /// Writes at the end, and brings it to the disk. A failure leaves the file as it was, as far as the disk lets it.
    fn append(&mut self, text: &str) -> io::Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += text.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If this fails, too, the half line is told of by the next file.
                _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

/// Lines that go on from a place of the chain.
struct Sealing<'a> {
    key: &'a AuditKey,
    seq: u64,
    prev: Hash,
    text: String,
}

impl Sealing<'_> {
    fn add(&mut self, record: &Record) {
        let open = line::open(self.seq + 1, &stamp(record.time), record.what, &record.fields, &self.prev);
        let line = self.key.seal(Sealed::Line, open);
        self.seq += 1;
        self.prev = line::hash_of(line.as_bytes());
        self.text.push_str(&line);
        self.text.push('\n');
    }
}
