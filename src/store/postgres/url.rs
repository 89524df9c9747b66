//! Checks the URL of a database before the database library reads it, which repeats values in its errors and logs those of
//! parameters that it doesn't know.

const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// Longest name of a parameter that is repeated.
const SHOWN: usize = 32;

/// Checks what may repeat a part of the password. The error repeats no value.
pub(super) fn check(url: &str) -> Result<(), String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[authority..].contains(['@', '#']) {
        return Err(String::from(
            "has an '@' or a '#' behind the host: write @ : / ? # and % in a user name or password as %40 %3A %2F %3F %23 and %25",
        ));
    }
    let Some((_, query)) = rest.split_once('?') else { return Ok(()) };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else { return Err(unknown("")) };
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if !is_option && !PARAMETERS.contains(&name) {
            return Err(unknown(name));
        }
        if matches!(name, "sslmode" | "ssl-mode") && !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) {
            return Err(format!("has an sslmode that is none of {}", SSL_MODES.join(", ")));
        }
    }
    Ok(())
}

fn unknown(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_name = (1..=SHOWN).contains(&name.len()) && name.chars().all(is_plain);
    let shown = if is_name { format!(" `{name}`") } else { String::new() };
    format!("has a parameter{shown} that isn't known here; leave it out")
}

#[cfg(test)]
mod tests {
    use super::super::PostgresStore;

    /// Stands wherever a password may end up in a URL that is broken.
    const PASSWORD: &str = "hunter2";

    #[tokio::test]
    async fn an_address_that_can_not_be_used_is_refused_without_its_password() {
        for url in [
            "postgres://u:hunter2@db:notaport/quotad",
            "postgres://u:hunter2@db:hunter2/quotad",
            "postgres://u:hunter2@/quotad?sslmode=hunter2",
            "postgres://u:a?sslmode=hunter2@db/quotad",
            "postgres://u:12?hunter2@db/quotad",
            "postgres://u:12?hunter2",
            "postgres://u:12/hunter2@db/quotad",
            "postgres://u:12#hunter2@db/quotad",
            "postgres://u:hunter2/x@db/quotad",
            "postgres://u@db/quotad?pasword=hunter2",
            "postgres://u@db/quotad?port=hunter2",
            "postgres://u@db/quotad?hostaddr=hunter2",
            "postgres://u@db/quotad?statement-cache-capacity=hunter2",
            "postgres://u:hunter2@d b/quotad",
            "postgres://u:%ff@db/quotad?password=hunter2",
            "postgres://u:hunter2@[db/quotad",
        ] {
            let Err(problem) = PostgresStore::new(url) else { panic!("{url}") };
            let said = format!("{problem} {problem:?}");
            assert!(said.contains("database_url") && !said.contains(PASSWORD), "{url}: {said}");
        }
    }

    #[tokio::test]
    async fn every_parameter_that_is_known_is_taken() {
        for query in [
            "sslmode=verify-full&sslrootcert=/ca.pem",
            "sslmode=DISABLE",
            "host=/run/postgresql&user=u&password=p&port=5432&dbname=d",
            "options=-c%20search_path=x&application_name=q&statement-cache-capacity=10&hostaddr=127.0.0.1",
            "options[search_path]=x",
            "",
        ] {
            let url = format!("postgres://u:p%40%2F%3F%23@db:5432/quotad?{query}");
            assert!(PostgresStore::new(&url).is_ok(), "{url}");
        }
    }
}
