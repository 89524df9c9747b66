use ::hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

/// The secret of the specification's example, as are the constants above.
fn secret() -> WebhookSecret {
    WebhookSecret::parse("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
}

fn verify_at(now: i64, header: &str) -> Result<(), SignatureError> {
    verify(&secret(), ID, TIME, BODY, header, now, 300)
}

#[test]
fn the_example_of_the_specification_is_signed_as_there() {
    assert_eq!(sign(&secret(), ID, TIME, BODY), SIGNATURE);
    assert_eq!(verify_at(TIME, SIGNATURE), Ok(()));
}

proptest! {
    #[test]
    fn another_implementation_makes_the_same_signature(
        key: [u8; 24], id in "[a-z0-9_]{1,64}", time: i64, body: Vec<u8>,
    ) {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{time}.").as_bytes());
        mac.update(&body);
        let expected = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        prop_assert_eq!(sign(&WebhookSecret::from_random(key), &id, time, &body), expected);
    }
}

#[test]
fn anything_changed_breaks_the_signature() {
    let other = WebhookSecret::from_random([1; 24]);
    let check = |secret: &WebhookSecret, id, time, body| verify(secret, id, time, body, SIGNATURE, TIME, 300);
    assert_eq!(check(&secret(), ID, TIME, BODY), Ok(()));
    assert_eq!(check(&other, ID, TIME, BODY), Err(SignatureError::Mismatch));
    assert_eq!(check(&secret(), "msg_other", TIME, BODY), Err(SignatureError::Mismatch));
    assert_eq!(check(&secret(), ID, TIME + 1, BODY), Err(SignatureError::Mismatch));
    assert_eq!(check(&secret(), ID, TIME, b"{}"), Err(SignatureError::Mismatch));
}

#[test]
fn one_of_several_signatures_is_enough() {
    let header = format!("v1a,b3RoZXI= v1,b3RoZXI= {SIGNATURE}  v2,{}", &SIGNATURE[3..]);
    assert_eq!(verify_at(TIME, &header), Ok(()));
}

#[test]
fn a_header_without_a_signature_that_fits_is_refused() {
    let truncated = &SIGNATURE[..SIGNATURE.len() - 4];
    for header in ["v1,", "v1,?", "v1,b3RoZXI=", truncated] {
        assert_eq!(verify_at(TIME, header), Err(SignatureError::Mismatch), "{header:?}");
    }
    for header in ["", " ", &SIGNATURE[3..], &format!("v1a,{}", &SIGNATURE[3..])] {
        assert_eq!(verify_at(TIME, header), Err(SignatureError::Missing), "{header:?}");
    }
}

#[test]
fn a_timestamp_far_from_now_is_refused() {
    assert_eq!(verify_at(TIME + 300, SIGNATURE), Ok(()));
    assert_eq!(verify_at(TIME + 301, SIGNATURE), Err(SignatureError::TooOld { seconds: 301 }));
    assert_eq!(verify_at(TIME - 300, SIGNATURE), Ok(()));
    assert_eq!(verify_at(TIME - 301, SIGNATURE), Err(SignatureError::TooNew { seconds: 301 }));
    let extreme = verify(&secret(), ID, i64::MIN, BODY, SIGNATURE, i64::MAX, 300);
    assert_eq!(extreme, Err(SignatureError::TooOld { seconds: i64::MAX }));
}
