//! Any bytes are the body of a batch or are refused; what was read is written so that it is read the same.

use quotad::journal::sqlite::{decode, encode};

pub(crate) fn check(body: &[u8]) {
    match decode(body) {
        Ok(records) => {
            let written = encode(&records).expect("what was read can be written");
            assert_eq!(decode(&written).expect("what was written can be read"), records);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
