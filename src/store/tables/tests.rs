use std::{fs, path::Path};

use super::*;

/// Columns of the table as it was made last, in order: name, whether it may be null, whether it is of the primary key.
fn migrated(sql: &str, table: &str) -> Vec<(String, bool, bool)> {
    let begin = format!("CREATE TABLE {table} (");
    let body = sql.rsplit_once(&begin).unwrap_or_else(|| panic!("{table} isn't made")).1;
    let lines = body.lines().map(str::trim).take_while(|line| !line.starts_with(')'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("--")).collect();
    let listed = |line: &&str| Some(line.strip_prefix("PRIMARY KEY (")?.split_once(')')?.0.to_owned());
    let keys: Vec<String> =
        lines.iter().find_map(listed).map_or_else(Vec::new, |list| list.split(", ").map(str::to_owned).collect());
    let word = |line: &str| line.split([' ', ',']).next().unwrap().to_owned();
    let is_column = |line: &&&str| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '"');
    let column = |line: &&str| {
        let name = word(line).trim_matches('"').to_owned();
        let key = keys.contains(&name) || line.contains("PRIMARY KEY");
        (name, !key && !line.contains("NOT NULL"), key)
    };
    // Columns that came later, none of them of a key.
    let added = format!("ALTER TABLE {table} ADD COLUMN ");
    let added: Vec<&str> = sql.lines().filter_map(|line| line.trim().strip_prefix(&added)).collect();
    let mut columns: Vec<_> = lines.iter().filter(is_column).chain(&added).map(column).collect();
    columns.retain(|(name, ..)| !sql.contains(&format!("ALTER TABLE {table} DROP COLUMN {name};")));
    for (name, null, _) in &mut columns {
        *null |= sql.contains(&format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;"));
    }
    columns
}

fn described(table: &Table) -> Vec<(String, bool, bool)> {
    let column = |column: &Column| (column.name.to_owned(), column.null, column.merge == Merge::Key);
    let mut columns: Vec<_> = table.columns.iter().map(column).collect();
    columns.sort();
    columns
}

#[test]
fn the_tables_are_those_that_the_migrations_make() {
    let migrations = |database: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>()
    };
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));
    for table in ALL {
        let mut made = [&sqlite, &postgres].map(|sql| migrated(sql, table.name));
        if table.name == LEDGER_ENTRIES.name {
            // In Postgres partitions are by time, which is of their key therefore.
            made[1].iter_mut().filter(|column| column.0 == "time").for_each(|time| time.2 = false);
        }
        for made in &mut made {
            made.sort();
            assert_eq!(*made, described(table), "{}", table.name);
        }
    }
}

#[test]
fn only_money_is_added_up() {
    for table in ALL {
        assert!(table.keys().count() > 0, "{} has no key", table.name);
        for column in table.columns {
            assert!(column.merge != Merge::Add || column.kind == Nanos, "{}.{}", table.name, column.name);
        }
    }
}
