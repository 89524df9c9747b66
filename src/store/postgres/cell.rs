//! Cells as Postgres sends and takes them: in its binary form, the same in a parameter, an array and a COPY.

use std::borrow::Cow;

use sqlx::{
    Encode, Postgres, Type, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

use crate::{
    domain::{money::Nanos, time::Timestamp},
    store::{StoreError, tables::Kind, value::Value},
};

#[cfg(test)]
mod tests;

/// Microseconds from 1970 to 2000, where Postgres counts from.
const EPOCH: i64 = 946_684_800_000_000;
/// The first instant that Postgres can tell, by its own count. Its last one is later than ours.
const FIRST: i64 = -211_813_488_000_000_000;
const NEGATIVE: u16 = 0x4000;
/// First byte of a JSONB that is sent.
const JSONB: u8 = 1;

/// Type and type of arrays, by the numbers that Postgres has had for them for ever.
fn oids(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::Text => (25, 1009),
        Kind::Int => (20, 1016),
        Kind::Nanos => (1700, 1231),
        Kind::Time => (1184, 1185),
        Kind::Bool => (16, 1000),
        Kind::Json => (3802, 3807),
        Kind::Bytes => (17, 1001),
    }
}

/// Length and content, as COPY and arrays have it.
pub(super) fn put(value: &Value<'_>, buffer: &mut Vec<u8>) {
    let at = buffer.len();
    buffer.extend((-1_i32).to_be_bytes());
    if put_content(value, buffer) {
        let length = i32::try_from(buffer.len() - at - 4).unwrap_or(i32::MAX);
        buffer[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// False for null.
fn put_content(value: &Value<'_>, buffer: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => return false,
        Value::Text(text) => buffer.extend(without_nul(text).as_bytes()),
        Value::Int(int) => buffer.extend(int.to_be_bytes()),
        Value::Nanos(nanos) => put_nanos(*nanos, buffer),
        Value::Time(time) => buffer.extend(micros_of(*time).to_be_bytes()),
        Value::Bool(bool) => buffer.push(u8::from(*bool)),
        Value::Json(json) => {
            buffer.push(JSONB);
            buffer.extend(without_escaped_nul(json).as_bytes());
        }
        Value::Bytes(bytes) => buffer.extend(&**bytes),
    }
    true
}

/// Postgres has no text with a NUL in it. Nothing lets one in; but one alone would stop the books for good.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn without_escaped_nul(json: &str) -> Cow<'_, str> {
    if json.contains(r"\u0000") { Cow::Owned(json.replace(r"\u0000", r"\ufffd")) } else { Cow::Borrowed(json) }
}

fn micros_of(time: Timestamp) -> i64 {
    match time.micros().saturating_sub(EPOCH) {
        _ if time.is_never() => i64::MAX,
        micros if micros < FIRST => i64::MIN,
        micros => micros,
    }
}

fn time_of(micros: i64) -> Timestamp {
    match micros {
        i64::MAX => Timestamp::NEVER,
        i64::MIN => Timestamp::from_micros(i64::MIN),
        micros => Timestamp::from_micros(micros.saturating_add(EPOCH)),
    }
}

/// Digits to the base of 10,000: up to three before the point, three behind it.
fn put_nanos(nanos: Nanos, buffer: &mut Vec<u8>) {
    let amount = nanos.get().unsigned_abs();
    let (whole, part) = (amount / 1_000_000_000, amount % 1_000_000_000 * 1000);
    let all = [whole / 100_000_000, whole / 10_000, whole, part / 100_000_000, part / 10_000, part];
    let all = all.map(|digits| u16::try_from(digits % 10_000).unwrap_or_default());
    let first = all.iter().position(|digit| *digit != 0).unwrap_or(all.len());
    let last = all.iter().rposition(|digit| *digit != 0).map_or(first, |last| last + 1);
    let digits = &all[first..last];
    let sign = if nanos.get() < 0 { NEGATIVE } else { 0 };
    // The place of the first digit: 0 for the last before the point.
    let weight = if digits.is_empty() { 0 } else { 2 - i16::try_from(first).unwrap_or_default() };
    buffer.extend(u16::try_from(digits.len()).unwrap_or_default().to_be_bytes());
    buffer.extend(weight.to_be_bytes());
    buffer.extend(sign.to_be_bytes());
    buffer.extend(9_u16.to_be_bytes());
    for digit in digits {
        buffer.extend(digit.to_be_bytes());
    }
}

/// Beyond what an amount can be, the largest.
fn nanos_of(bytes: &[u8]) -> Option<Nanos> {
    let words: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [count, weight, sign, _, digits @ ..] = &words[..] else { return None };
    if *sign != 0 && *sign != NEGATIVE || digits.len() != usize::from(*count) {
        return None;
    }
    let mut amount: i128 = 0;
    for (place, digit) in (0..).zip(digits) {
        let power = 4 * (i32::from(weight.cast_signed()) - place) + 9;
        let digit = i128::from(*digit);
        amount = amount.saturating_add(match u32::try_from(power) {
            Ok(power) => digit.saturating_mul(10_i128.saturating_pow(power)),
            Err(_) => digit / 10_i128.saturating_pow(power.unsigned_abs()),
        });
    }
    let amount = if *sign == NEGATIVE { -amount } else { amount };
    let saturated = i64::try_from(amount).unwrap_or(if amount < 0 { -i64::MAX } else { i64::MAX });
    Some(Nanos::new(saturated))
}

/// What stands in column `at`, which a statement answered as `kind`.
pub(super) fn get(at: usize, kind: Kind, cell: &PgValueRef<'_>) -> Result<Value<'static>, StoreError> {
    if cell.is_null() {
        return Ok(Value::Null);
    }
    let odd = || StoreError::Damaged(format!("column {at} of what was read isn't {kind:?}"));
    if cell.format() != PgValueFormat::Binary {
        return Err(odd());
    }
    content(kind, cell.as_bytes().map_err(|_| odd())?).ok_or_else(odd)
}

fn content(kind: Kind, bytes: &[u8]) -> Option<Value<'static>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(match kind {
        Kind::Text => Value::owned(text(bytes)?),
        Kind::Int => Value::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
        Kind::Nanos => Value::Nanos(nanos_of(bytes)?),
        Kind::Time => Value::Time(time_of(i64::from_be_bytes(bytes.try_into().ok()?))),
        Kind::Bool => Value::Bool(*bytes.first()? != 0),
        // Postgres has an order and spaces of its own: as everywhere else, the order of the names and none.
        Kind::Json => {
            let json: serde_json::Value = serde_json::from_slice(bytes.strip_prefix(&[JSONB])?).ok()?;
            Value::json(json.to_string())
        }
        Kind::Bytes => Value::bytes(bytes.to_vec()),
    })
}

/// A parameter.
pub(super) struct Parameter<'a>(pub(super) &'a Value<'a>);

impl Type<Postgres> for Parameter<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(oids(Kind::Text).0))
    }
}

impl Encode<'_, Postgres> for Parameter<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(if put_content(self.0, buffer) { IsNull::No } else { IsNull::Yes })
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        let kind = match self.0 {
            Value::Null | Value::Text(_) => Kind::Text,
            Value::Int(_) => Kind::Int,
            Value::Nanos(_) => Kind::Nanos,
            Value::Time(_) => Kind::Time,
            Value::Bool(_) => Kind::Bool,
            Value::Json(_) => Kind::Json,
            Value::Bytes(_) => Kind::Bytes,
        };
        Some(PgTypeInfo::with_oid(Oid(oids(kind).0)))
    }
}

/// A parameter that is an array: one column of rows whose cells come one after the other.
pub(super) struct Column<'a> {
    pub kind: Kind,
    pub cells: &'a [Value<'a>],
    /// Which of the columns, and how many there are.
    pub at: usize,
    pub width: usize,
}

impl Type<Postgres> for Column<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(oids(Kind::Text).1))
    }
}

impl Encode<'_, Postgres> for Column<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Self { kind, cells, at, width } = self;
        let rows = i32::try_from(cells.len() / width)?;
        // One dimension, nulls allowed, from 1 on.
        buffer.extend(1_i32.to_be_bytes());
        buffer.extend(1_i32.to_be_bytes());
        buffer.extend(oids(*kind).0.to_be_bytes());
        buffer.extend(rows.to_be_bytes());
        buffer.extend(1_i32.to_be_bytes());
        for cell in cells.iter().skip(*at).step_by(*width) {
            put(cell, buffer);
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(oids(self.kind).1)))
    }
}
