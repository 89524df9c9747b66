use super::*;
use crate::domain::{
    event::{Event, Stream},
    id::{Actor, OrganizationId},
    time::Timestamp,
};

mod golden;

/// One record of each event, in the order of the variants.
fn golden_records() -> Vec<Record> {
    let events = golden::events();
    let record = |(i, event): (u64, Event)| Record {
        position: i + 1,
        stream: if i % 2 == 0 { Stream::System } else { Stream::Organization(OrganizationId::trusted("acme")) },
        sequence: i + 1,
        epoch: 3,
        time: Timestamp::from_micros(1_700_000_000_000_001),
        actor: Actor::OPERATOR,
        event,
    };
    (0..).zip(events).map(record).collect()
}

#[test]
fn records_of_every_version_are_read_for_ever() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/packed/tests/golden-v2.bin");
    let records = golden_records();
    let plain = postcard::to_extend(&records, vec![PLAIN]).unwrap();
    if std::env::var_os("QUOTAD_WRITE_GOLDEN").is_some() {
        std::fs::write(file, &plain).unwrap();
    }
    let golden = std::fs::read(file).unwrap();
    assert_eq!(golden, plain, "the encoding of an event changed: old journals couldn't be read any more");
    assert_eq!(unpack(&golden).unwrap(), records);
    let packed = pack(&records).unwrap();
    assert_eq!(packed[0], COMPRESSED);
    assert_eq!(decompressed(&packed[1..]).unwrap(), golden[1..]);
    assert_eq!(unpack(&packed).unwrap(), records);
    assert_eq!(unpack(&pack(&[]).unwrap()).unwrap(), []);
}

#[test]
fn a_packer_packs_each_batch_as_if_it_were_its_first() {
    let records = golden_records();
    let times = KEPT / postcard::to_stdvec(&records).unwrap().len() + 1;
    let many: Vec<_> = std::iter::repeat_n(&records, times).flatten().cloned().collect();
    let mut packer = Packer::default();
    for batch in [&many[..400], &records[..1], &[], &many[..], &many[..400]] {
        assert_eq!(unpack(&packer.pack(batch).unwrap()).unwrap(), batch);
        assert!(packer.block.capacity() <= KEPT && packer.plain.capacity() <= KEPT, "room for {} is kept", batch.len());
    }
}

#[test]
fn records_that_are_alike_take_a_fraction_of_the_room() {
    let records = vec![golden_records().swap_remove(11); 100];
    let (plain, packed) = (postcard::to_stdvec(&records).unwrap(), pack(&records).unwrap());
    assert!(packed.len() * 4 < plain.len(), "{} of {}", packed.len(), plain.len());
}

#[test]
fn bytes_that_lie_about_themselves_are_refused_before_room_is_made() {
    let packed = pack(&golden_records()).unwrap();
    let with_length = |length: u32| {
        let mut lie = packed.clone();
        lie[1..HEAD].copy_from_slice(&length.to_le_bytes());
        unpack(&lie).unwrap_err().to_string()
    };
    let length = u32::from_le_bytes(packed[1..HEAD].try_into().unwrap());
    for (lie, problem) in [(u32::MAX, "don't come of"), (length + 1, "instead of"), (length - 1, "decompressed")] {
        let said = with_length(lie);
        assert!(said.contains(problem), "{lie}: {said}");
    }
    for (bytes, problem) in
        [(&packed[..3], "has no length"), (&[][..], "version None"), (&[1, 2][..], "version Some(1)")]
    {
        let said = unpack(bytes).unwrap_err().to_string();
        assert!(said.contains(problem), "{bytes:?}: {said}");
    }
}
