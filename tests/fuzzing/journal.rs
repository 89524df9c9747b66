//! Any bytes are the body of a batch or are refused; what was read is written so that it is read the same.

use quotad::packed::{pack, unpack};

pub(crate) fn check(body: &[u8]) {
    match unpack(body) {
        Ok(records) => {
            let written = pack(&records).expect("what was read can be written");
            assert_eq!(unpack(&written).expect("what was written can be read"), records);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
