use sealed_shuffle_protocol::stored::sealed::{Kind, MAX_PIECE};
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Blocks, Fixture, drain, key, partition, pattern};
use crate::sealed_files::{Filled, Fsync, OpenBuffer, SealedRegion, StoredError};

#[test]
fn chunks_of_every_size_of_segment_come_back() {
    let fixture = Fixture::new();
    let content = pattern(700_000);
    let sizes = [1_000, 37, 65_000, 65_536 - 28, 100_000, 131_072, MAX_PIECE - 1, MAX_PIECE];
    let mut writer = fixture.create(1);
    for size in sizes {
        // Few of the smallest, many of the others, and last a shorter one.
        let block = &content[..content.len().min(size * 2000)];
        writer.pieces(block, size).unwrap();
        writer.commit().unwrap();
        writer.close_chunk(&OnLane::here(), &size.to_be_bytes()).unwrap();
    }
    // All of them mixed, one behind the other.
    for (n, size) in sizes.iter().cycle().take(24).enumerate() {
        writer.block(&content[n..n + size]);
    }
    writer.close_chunk(&OnLane::here(), b"mixed").unwrap();
    let finalized = writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    let (chunks, meta) = fixture.read(1).unwrap();
    for (chunk, size) in chunks.iter().zip(sizes) {
        assert!(chunk[..] == content[..content.len().min(size * 2000)], "{size}");
    }
    let mixed = sizes.iter().cycle().take(24).enumerate().flat_map(|(n, size)| content[n..n + size].to_vec());
    assert!(chunks[sizes.len()] == mixed.collect::<Vec<_>>());
    assert_eq!(chunks.iter().map(Vec::len).sum::<usize>() as u64, finalized.len);
    assert_eq!(meta, [&sizes.map(|size| size.to_be_bytes()).concat()[..], b"mixed"].concat());
}

#[test]
fn a_chunk_is_read_without_what_comes_before_it() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[&pattern(300_000), b"the second", b"the third"]);
    let opened = fixture.open(1).unwrap();
    // The first chunk is destroyed, the header is not.
    let header = 400;
    fixture.edit(1, Kind::Data, |bytes| bytes[header..200_000].fill(0));
    let opened_again = fixture.open(1).unwrap();
    for opened in [opened, opened_again] {
        assert_eq!(drain(&mut fixture.chunk(&opened, 2).unwrap()).unwrap(), b"the third");
        assert!(drain(&mut fixture.chunk(&opened, 0).unwrap()).unwrap_err().is_refused());
    }
}

#[test]
fn the_length_is_known_before_the_first_byte() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"12345", b"123"]);
    let opened = fixture.open(1).unwrap();
    assert_eq!((opened.chunks(), opened.len(), opened.is_final()), (2, 8, true));
    let mut region = fixture.chunk(&opened, 1).unwrap();
    assert_eq!((region.remaining(), region.plain()), (3, &b""[..]));
    region.fill_blocking(&OnLane::here()).unwrap();
    assert_eq!((region.remaining(), region.plain()), (3, &b"123"[..]));
    region.consume(2);
    assert_eq!((region.remaining(), region.plain()), (1, &b"3"[..]));
    region.fill_blocking(&OnLane::here()).unwrap();
    assert_eq!(region.plain(), b"3", "what is there is not skipped");
    region.consume(1);
    assert_eq!(region.fill_now().unwrap(), Filled::Ready);
    assert_eq!((region.remaining(), region.plain()), (0, &b""[..]));
}

#[test]
fn a_chunk_without_bytes_is_at_its_end() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"", b"next"]);
    assert_eq!(fixture.read(1).unwrap().0, [&b""[..], b"next"]);
}

#[test]
fn there_are_as_many_chunks_as_there_are() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"only"]);
    let found = fixture.chunk(&fixture.open(1).unwrap(), 1).unwrap_err();
    assert!(matches!(found, StoredError::NoChunk { chunk: 1, chunks: 1, .. }), "{found}");
}

#[test]
fn a_partition_may_be_read_while_it_is_merged() {
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    let mut model: Vec<Vec<u8>> = Vec::new();
    for n in 0..5_usize {
        let opened = fixture
            .store
            .open_unfinished(&OnLane::here(), &fixture.place, partition(1), &key(), &writer.progress())
            .unwrap();
        assert_eq!((opened.chunks(), opened.is_final()), (n, false));
        assert_eq!(fixture.store.meta(&OnLane::here(), &fixture.place, &opened).unwrap().len(), 4 * n);
        writer.block(&pattern(n * 1000));
        writer.pieces(b"and another block", 5).unwrap();
        for (chunk, expected) in model.iter().enumerate() {
            assert_eq!(&drain(&mut fixture.chunk(&opened, chunk).unwrap()).unwrap(), expected);
        }
        writer.abort();
        model.push(pattern(n * 1000));
        writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    }
    writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    assert_eq!(fixture.read(1).unwrap().0, model);
}

#[test]
fn one_buffer_serves_chunk_after_chunk() {
    let fixture = Fixture::new();
    let content = pattern(MAX_PIECE);
    fixture.finalized(1, &[&content, &content, b"small", &content]);
    let opened = fixture.open(1).unwrap();
    let mut buffer = OpenBuffer::default();
    let mut places = Vec::new();
    for chunk in 0..4 {
        let mut region = fixture.chunk(&opened, chunk).unwrap();
        region.lend(buffer);
        region.fill_blocking(&OnLane::here()).unwrap();
        // Not before it is used.
        places.push(region.plain().as_ptr());
        drain(&mut region).unwrap();
        buffer = region.take_buffer();
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
    assert!(buffer.len() <= OpenBuffer::MAX_LEN);
}

#[test]
fn a_segment_is_opened_to_where_it_goes_if_all_of_it_fits() {
    let fixture = Fixture::new();
    let content = pattern(100_000);
    let mut writer = fixture.create(1);
    writer.pieces(&content, 60_000).unwrap();
    writer.commit().unwrap();
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    let mut region = fixture.chunk(&fixture.open(1).unwrap(), 0).unwrap();
    let mut out = vec![0; 60_000];
    assert_eq!(region.put_now(&mut out[..59_999]).unwrap(), Some(0));
    assert_eq!((region.remaining(), region.plain()), (100_000, &b""[..]));
    assert_eq!(region.put_now(&mut out).unwrap(), Some(60_000));
    assert!(out == content[..60_000]);
    assert_eq!(region.remaining(), 40_000);
    assert_eq!(region.fill_now().unwrap(), Filled::Ready);
    assert_eq!(region.put_now(&mut out).unwrap(), None, "what is there goes first");
    assert!(region.plain() == &content[60_000..]);
    region.consume(40_000);
    assert_eq!(region.put_now(&mut out).unwrap(), None);
}

#[test]
fn a_damaged_segment_is_not_opened_to_where_it_goes() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[&pattern(50_000)]);
    fixture.edit(1, Kind::Data, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let mut region = fixture.chunk(&fixture.open(1).unwrap(), 0).unwrap();
    assert!(region.put_now(&mut [0; 50_000]).unwrap_err().is_refused());
}

#[test]
fn a_chunk_can_be_read_on_another_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<SealedRegion>();
    is_send::<crate::sealed_files::SealedWriter>();
    is_send::<crate::sealed_files::SealedPartition>();
}
