//! How snapshots hold a table: with an index of its own, as memory once did. Nothing reads that.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use super::{Entity, Row, Table};

#[derive(Deserialize)]
#[serde(bound = "E: DeserializeOwned")]
pub(super) struct KeptTable<E: Entity> {
    rows: Vec<Row<E>>,
    #[serde(rename = "index")]
    _index: HashMap<E::Id, u32, RandomState>,
    live: u32,
}

/// The same, borrowed: a table may be large.
#[derive(Serialize)]
#[serde(bound = "E: Serialize")]
struct KeptTableRef<'a, E: Entity> {
    rows: &'a [Row<E>],
    index: Places<'a, E>,
    live: u32,
}

struct Places<'a, E>(&'a [Row<E>]);

impl<E: Entity> Serialize for Places<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|row| row.entity.id()).zip(0u32..))
    }
}

impl<E: Entity + Serialize> Serialize for Table<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeptTableRef { rows: &self.rows, index: Places(&self.rows), live: self.live }.serialize(serializer)
    }
}

impl<E: Entity> From<KeptTable<E>> for Table<E> {
    fn from(kept: KeptTable<E>) -> Self {
        let KeptTable { rows, _index: _, live } = kept;
        let mut table = Self { rows: Vec::with_capacity(rows.len()), live, ..Self::default() };
        for row in rows {
            table.new_place(&row.entity.id());
            table.rows.push(row);
        }
        table
    }
}
