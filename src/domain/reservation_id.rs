//! The id that a reservation goes by outside: self-describing, so that a hold forgotten in a crash can still be charged to
//! the right key, and sealed with a MAC, so that nobody can make one up.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::{
    id::{KeyId, Model, OrganizationId},
    time::Timestamp,
};

const MAC_LEN: usize = 16;
/// Longest encoded id: two ids, a model, three numbers and the MAC, in base64.
pub const MAX_LEN: usize = 512;

/// Names a reservation within its organization: the epoch (count of starts) and the sequence of the event that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReservationNo {
    pub epoch: u32,
    pub sequence: u64,
}

/// All that must be known to charge a reservation of which nothing else is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationId {
    pub organization: OrganizationId,
    pub key: KeyId,
    pub model: Model,
    pub admit_time: Timestamp,
    pub no: ReservationNo,
}

/// The key that ids are sealed with: made at first start, kept in the `_system` stream.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey([u8; 32]);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl SealKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&blake3::keyed_hash(&self.0, body).as_bytes()[..MAC_LEN]);
        mac
    }

    /// Takes as long for a MAC that is nearly right: its time tells nothing.
    fn sealed(&self, body: &[u8], mac: &[u8; MAC_LEN]) -> bool {
        constant_time_eq::constant_time_eq_16(&self.mac(body), mac)
    }
}

impl ReservationId {
    pub fn encode(&self, seal: &SealKey) -> String {
        let mut bytes = Vec::with_capacity(128);
        self.put(&mut bytes);
        let mac = seal.mac(&bytes);
        bytes.extend_from_slice(&mac);
        BASE64URL_NOPAD.encode(&bytes)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        for text in [self.organization.as_str(), self.key.as_str(), self.model.as_str()] {
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.admit_time.micros().to_le_bytes());
        bytes.extend_from_slice(&self.no.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.no.sequence.to_le_bytes());
    }

    /// `None` for anything that [`Self::encode`] didn't make with this seal.
    pub fn decode(text: &str, seal: &SealKey) -> Option<Self> {
        if text.len() > MAX_LEN {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (body, mac) = bytes.split_last_chunk::<MAC_LEN>()?;
        if !seal.sealed(body, mac) {
            return None;
        }
        let mut rest = body;
        Some(Self {
            organization: OrganizationId::trusted(take_text(&mut rest)?),
            key: KeyId::trusted(take_text(&mut rest)?),
            model: Model::trusted(take_text(&mut rest)?),
            admit_time: Timestamp::from_micros(i64::from_le_bytes(take(&mut rest)?)),
            no: ReservationNo {
                epoch: u32::from_le_bytes(take(&mut rest)?),
                sequence: u64::from_le_bytes(take(&mut rest)?),
            },
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [len] = take::<1>(rest)?;
    let (head, tail) = rest.split_at_checked(usize::from(len))?;
    *rest = tail;
    std::str::from_utf8(head).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ReservationId {
        ReservationId {
            organization: OrganizationId::trusted("acme"),
            key: KeyId::trusted("key-1"),
            model: Model::trusted("llama"),
            admit_time: Timestamp::from_micros(1_234_567),
            no: ReservationNo { epoch: 3, sequence: 99 },
        }
    }

    #[test]
    fn an_id_tells_everything_and_cannot_be_made_up() {
        let seal = SealKey::new([7; 32]);
        let text = id().encode(&seal);
        assert_eq!(ReservationId::decode(&text, &seal), Some(id()));
        assert_eq!(ReservationId::decode(&text, &SealKey::new([8; 32])), None);
        for bad in ["", "x", "AAAA", &text[1..], &"A".repeat(5000)] {
            assert_eq!(ReservationId::decode(bad, &seal), None);
        }
        let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        for i in 0..bytes.len() {
            bytes[i] ^= 1;
            assert_eq!(ReservationId::decode(&BASE64URL_NOPAD.encode(&bytes), &seal), None, "byte {i}");
            bytes[i] ^= 1;
        }
    }
}
