use proptest::prelude::*;

use super::*;

fn there_and_back(kind: Kind, value: &Value<'_>) -> Value<'static> {
    let mut buffer = Vec::new();
    assert!(put_content(value, &mut buffer));
    content(kind, &buffer).unwrap()
}

#[test]
fn amounts_have_the_digits_that_postgres_expects() {
    let digits = |nanos| {
        let mut buffer = Vec::new();
        put_nanos(Nanos::new(nanos), &mut buffer);
        buffer.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect::<Vec<_>>()
    };
    assert_eq!(digits(0), [0, 0, 0, 9]);
    assert_eq!(digits(1), [1, -3, 0, 9, 1000]);
    assert_eq!(digits(1_500_000_000), [2, 0, 0, 9, 1, 5000]);
    assert_eq!(digits(-10_000_000_000_000), [1, 1, 0x4000, 9, 1]);
    assert_eq!(digits(i64::MAX), [6, 2, 0, 9, 92, 2337, 2036, 8547, 7580, 7000]);
}

#[test]
fn sums_beyond_any_amount_are_the_largest() {
    // 10^12.
    let large: Vec<u8> = [1_u16, 3, 0, 0, 1].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(nanos_of(&large), Some(Nanos::new(i64::MAX)));
    let not_a_number: Vec<u8> = [0_u16, 0, 0xc000, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    assert_eq!(nanos_of(&not_a_number), None);
}

#[test]
fn instants_beyond_those_of_postgres_are_infinite() {
    for micros in [i64::MAX, i64::MIN, 0, EPOCH, -1] {
        let time = Value::Time(Timestamp::from_micros(micros));
        assert_eq!(there_and_back(Kind::Time, &time), time);
    }
    let before = Value::Time(Timestamp::from_micros(i64::MIN + 1));
    assert_eq!(there_and_back(Kind::Time, &before), Value::Time(Timestamp::from_micros(i64::MIN)));
    assert_eq!(micros_of(Timestamp::NEVER), i64::MAX, "infinity, and no day in a far year");
}

#[test]
fn a_nul_never_stops_the_books() {
    assert_eq!(there_and_back(Kind::Text, &Value::text("a\0b")), Value::text("a\u{fffd}b"));
    let json = Value::json(String::from(r#"{"b":"\u0000","a":1}"#));
    assert_eq!(there_and_back(Kind::Json, &json), Value::json(String::from("{\"a\":1,\"b\":\"\u{fffd}\"}")));
}

proptest! {
    #[test]
    fn any_amount_comes_back_as_it_went(nanos in any::<i64>()) {
        let value = Value::Nanos(Nanos::new(nanos));
        let expected = Value::Nanos(Nanos::new(nanos.max(-i64::MAX)));
        prop_assert_eq!(there_and_back(Kind::Nanos, &value), expected);
    }
}
