//! The recipes of `docs/recipes`, by the real `quotactl` against the real server: each of the five tasks that the product is for.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::Server;

/// An organization with money, where 1000 tokens of `small` cost 1 USD, a credit.
pub(crate) struct Walk {
    pub(crate) operator: Caller,
    _server: Server,
    _folder: TempDir,
}

/// Whoever holds a token.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) endpoint: String,
    pub(crate) token: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Walk {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = Server::start(&data);
        let endpoint = server.endpoint.clone();
        let operator = Caller { endpoint, token: data.join("operator.token"), folder: folder.path().to_owned() };
        for line in [
            "org create acme --name 'Acme Inc'",
            "price set small --input 1000 --output 1000",
            "wallet top-up 500",
            "member create ada --name 'Ada Lovelace' --email ada@example.org --role owner",
            "member create bob --name Bob --email bob@example.org --role developer",
            "key create ada-1 --member ada",
            "key create ada-2 --member ada",
            "key create bob-1 --member bob",
        ] {
            operator.run(line);
        }
        Self { operator, _server: server, _folder: folder }
    }

    pub(crate) fn member(&self, member: &str) -> Caller {
        let created = self.operator.run(&format!("token create --member {member}"));
        self.operator.holding(member, created["secret"].as_str().unwrap())
    }
}

impl Caller {
    pub(crate) fn holding(&self, name: &str, secret: &str) -> Self {
        let token = self.folder.join(format!("{name}.token"));
        fs::write(&token, secret).unwrap();
        Self { token, ..self.clone() }
    }

    pub(crate) fn output(&self, line: &str) -> Output {
        self.command(line).arg("--json").output().unwrap()
    }

    /// As it is typed by somebody with these settings in the environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        // What is in quotes stays one word.
        let words = line.split('\'').enumerate().flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().collect::<Vec<_>>(),
            _ => vec![part],
        });
        let mut command = self.surroundings(env!("CARGO_BIN_EXE_quotactl"));
        command.args(words);
        command
    }

    /// A program with these settings in its environment, and nobody at a terminal.
    pub(crate) fn surroundings(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in ["QUOTAD_TOKEN", "QUOTACTL_CONFIG", "QUOTACTL_CONTEXT", "COLUMNS"] {
            command.env_remove(name);
        }
        command
            .env("NO_COLOR", "1")
            .env("HOME", &self.folder)
            .env("QUOTAD_ORG", "acme")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command.env("QUOTAD_ENDPOINT", &self.endpoint).env("QUOTAD_TOKEN_FILE", &self.token);
        command
    }

    /// Typed at a terminal by somebody who types `answer` too; everything that the terminal showed.
    #[track_caller]
    pub(crate) fn at_terminal(&self, line: &str, answer: &str) -> String {
        let quotactl = env!("CARGO_BIN_EXE_quotactl");
        let mut command = self.surroundings("script");
        command.args(["-qec", &format!("{quotactl} {line}"), "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{answer}\n").as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Value {
        let output = self.output(line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "quotactl {line}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|problem| panic!("quotactl {line}: {problem}"))
    }

    /// What it says when it fails.
    #[track_caller]
    pub(crate) fn fail(&self, line: &str) -> String {
        let output = self.output(line);
        assert_eq!(output.status.code(), Some(1), "quotactl {line}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Whether a request of so many tokens would be granted, and the first denial's code if not.
    #[track_caller]
    fn admits(&self, key: &str, tokens: u32) -> bool {
        let output = self.output(&format!("check --key {key} --model small --input-tokens {tokens}"));
        match output.status.code() {
            Some(0) => true,
            Some(3) => false,
            _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    #[track_caller]
    pub(crate) fn spend(&self, key: &str, tokens: u32) {
        let trace = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n2026-11-01 00:00:00.0,{tokens},0\n");
        fs::write(self.folder.join("trace.csv"), trace).unwrap();
        let report = self.run(&format!("replay trace.csv --model small --key {key} --speed max"));
        assert_eq!(report["granted"], 1, "{report}");
    }
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[test]
fn member_budgets() {
    let walk = Walk::start();
    let operator = &walk.operator;
    assert_eq!(operator.run("budget show ada")["unlimited"], true);
    operator.run("budget set ada --one-time 5");
    operator.spend("ada-1", 3000);
    assert!(!operator.admits("ada-2", 4000), "all keys draw on one pool");
    let raised = operator.run("budget set ada --one-time 50");
    assert_eq!((raised["limits"][0]["spent"].as_str(), raised["limits"][0]["max"].as_str()), (Some("3"), Some("50")));
    assert!(operator.admits("ada-2", 4000));
    operator.run("budget set ada --unlimited");
    let restarted = operator.run("budget set ada --one-time 5");
    assert_eq!(restarted["limits"][0]["spent"], "0", "another cycle begins at zero");
    let recurring = operator.run("budget set ada --daily 5 --monthly 80 --zone Europe/Berlin --yes");
    assert_eq!(texts(&recurring["budgets"], "id"), ["daily", "monthly"]);

    operator.run("budget set bob --one-time 20");
    let bob = walk.member("bob");
    assert_eq!(bob.run("whoami")["identities"][0]["role"], "developer");
    let own = bob.run("budget show");
    assert_eq!(
        (own["budgets"][0]["type"].as_str(), own["budgets"][0]["limit"].as_str()),
        (Some("one_time"), Some("20"))
    );
    assert!(bob.fail("budget set bob --unlimited").contains("PERMISSION_DENIED"));
    assert!(bob.fail("budget show ada").contains("PERMISSION_DENIED"));

    let invited = operator.run("invite create grace@example.org --role basic --name Grace");
    let id = invited["invitation"]["id"].as_str().unwrap();
    operator.run(&format!("budget set --invitation {id} --one-time 7"));
    let pending = operator.run("invite list --state pending --search grace");
    assert_eq!(pending["invitations"][0]["policy"]["budgets"][0]["max"], "7");
    let guest = operator.holding("grace", invited["token"].as_str().unwrap());
    let accepted = guest.run("invite accept --member grace");
    let grace = operator.holding("grace", accepted["secret"].as_str().unwrap());
    assert_eq!(grace.run("budget show")["budgets"][0]["limit"], "7");
    assert_eq!(texts(&operator.run("member list --search lovelace")["members"], "id"), ["ada"]);

    operator.run("org create home --kind personal");
    operator.run("member create eve --org home --role owner");
    assert!(operator.fail("budget set eve --one-time 5 --org home").contains("TEAM_ACCOUNT_REQUIRED"));
    assert_eq!(operator.run("org convert home")["kind"], "team");
    operator.run("budget set eve --one-time 5 --org home");
}

#[test]
fn budgets_and_quotas() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("team create research");
    operator.run("team member add research ada");
    operator.run("team member add research bob");
    operator.run("key create lab-1 --member bob --team research");
    operator.run("policy add-budget monthly --team research --max 10 --soft 4 --alert 90% --alert-to ops@example.org");
    operator.run("policy add-quota rpm --team research --rpm 600");
    operator.run("policy add-quota tpm --key lab-1 --tpm 8000");
    operator.run("budget set --each-of research --monthly 2");
    assert!(!operator.admits("lab-1", 3000));
    operator.run("budget set bob --team research --monthly 9");
    operator.run("policy add-budget day --key lab-1 --max 7 --period daily");
    assert!(operator.admits("lab-1", 6000) && !operator.admits("lab-1", 7500), "the key's own holds too");
    operator.spend("lab-1", 5000);
    let alerts = operator.run("alert list --kind soft-budget");
    let alert = &alerts["alerts"][0];
    assert_eq!(
        (alert["recipients"][0].as_str(), alert["state"].as_str()),
        (Some("ops@example.org"), Some("undeliverable"))
    );
    let seen = operator.run(&format!("alert ack {}", alert["id"].as_str().unwrap()));
    assert_eq!(seen["acknowledged_by"], "operator");
    assert!(!operator.admits("lab-1", 4000), "tokens per minute");

    let policy = operator.run("policy get --team research");
    fs::write(operator.folder.join("team.json"), policy.to_string()).unwrap();
    let again = operator.run("policy set --team research --file team.json");
    assert_eq!((&again["budgets"], &again["quotas"]), (&policy["budgets"], &policy["quotas"]));
    assert_eq!(again["budgets"][0]["alerts"]["thresholds"][0], "90%");
    let inherited = operator.run("team member inherit research bob");
    assert_eq!(
        (&inherited["overrides"], inherited["policy"]["budgets"][0]["max"].as_str()),
        (&false.into(), Some("2"))
    );
    operator.run("alert settings set --recipient ops@example.org --low-balance 5");
    assert_eq!(operator.run("alert test")["kind"], "test");
}

#[test]
fn quota_rules() {
    let walk = Walk::start();
    let operator = &walk.operator;
    let flags = "--cap 50 --period daily --zone Asia/Shanghai --weekdays mon-fri --hours 08:00-20:00";
    let sentence =
        "Up to 50.00 credits per day. Monday to Friday, 08:00–20:00 (Asia/Shanghai). Otherwise requests are blocked.";
    let preview = operator.run(&format!("rule preview {flags}"));
    assert_eq!(preview["preview"], sentence);
    assert_eq!(preview["open_now"] == false, preview["opens_time"].is_string());
    assert_eq!(operator.run(&format!("rule create office --name Office {flags}"))["preview"], sentence);
    operator.run("rule create dev --cap 2 --period daily");
    operator.run("key update ada-1 --rule dev");
    operator.run("org update acme --default-rule office");
    let edited = operator.run("rule update office --cap 80 --hours-off");
    assert_eq!((&edited["cap"]["max_credits"], &edited["hours"]["enabled"]), (&"80".into(), &false.into()));
    assert_eq!((&edited["bound_keys"], &edited["inherited_keys"]), (&0.into(), &2.into()));
    assert!(!operator.admits("ada-1", 3000) && operator.admits("ada-2", 3000));

    operator.run("rule update dev --disable");
    let key = operator.run("key get ada-1");
    assert_eq!((key["rule_id"].as_str(), key["effective_rule_id"].as_str()), (Some("dev"), Some("office")));
    assert!(operator.admits("ada-1", 3000));
    assert_eq!(texts(&operator.run("rule list --status enabled")["rules"], "id"), ["office"]);
    assert!(operator.fail("rule delete dev --yes").contains("in use by 1 key;"));
    operator.run("key update ada-1 --inherit-rule");
    operator.run("rule delete dev --yes");
    let changes = operator.run("audit --kind rule --id office");
    assert_eq!(
        (&changes["events"][0]["after"]["cap"]["max_credits"], &changes["events"][0]["actor"]),
        (&"80".into(), &"operator".into())
    );
    assert!(operator.run("key rotate ada-1 --grace 24h")["key"]["previous_secret_until"].is_string());
}

#[test]
fn credit_allocations() {
    let walk = Walk::start();
    let operator = &walk.operator;
    operator.run("team create research");
    operator.run("team member add research ada");
    operator.run("team member add research bob");
    operator.run("key create lab-1 --member bob --team research");
    let planned = operator.run("allocation settings set --credits 1000 --cadence week --validate-only");
    assert_eq!((&planned["validate_only"], &planned["overview"]["available"]), (&true.into(), &"1000".into()));
    assert_eq!(operator.run("allocation settings show")["credits_per_cycle"], "");
    operator.run("allocation settings set --credits 1000 --zone Europe/Berlin");
    operator.run("allocation team set research --monthly 400 --auto-approve-reserve 20");
    operator.run("allocation member set research bob --monthly 10");
    let told = operator.fail("allocation member set research ada --monthly 1000");
    assert!(told.contains("390.00 available"), "{told}");
    assert_eq!(operator.run("allocation member list research --search bob@")["total_size"], 1);
    assert!(!operator.admits("lab-1", 12_000), "a member's own does not fall back to the pool");

    let bob = walk.member("bob");
    assert_eq!(bob.run("request submit 15 --team research --reason 'evaluation run'")["state"], "auto_approved");
    let asked = bob.run("request submit 30 --team research")["id"].as_str().unwrap().to_owned();
    assert_eq!(operator.run("request list --state pending")["requests"][0]["member_email"], "bob@example.org");
    assert_eq!(operator.run(&format!("request approve {asked} --amount 20 --note ok"))["approved"], "20");
    assert!(operator.fail(&format!("request deny {asked}")).contains("FAILED_PRECONDITION"));
    operator.spend("lab-1", 40_000);
    let overview = operator.run("overview");
    assert_eq!((&overview["used"], &overview["used_percent"]), (&"40".into(), &"4.00".into()));
    assert_eq!(texts(&overview["teams"], "team_id"), ["default", "research"]);
    assert_eq!(operator.run("allocation team list --search rese")["teams"][0]["distributed"], "45");

    assert!(operator.fail("allocation reset").contains("--yes"), "nobody is there to be asked");
    assert_eq!(operator.run("overview")["used"], "40");
    assert_eq!(operator.run("allocation reset --yes")["used"], "0");
    assert!(operator.admits("lab-1", 10_000) && !operator.admits("lab-1", 10_001), "extra credits lapse");
}

#[test]
fn organization_credits() {
    let walk = Walk::start();
    let operator = &walk.operator;
    let (ada, bob) = (walk.member("ada"), walk.member("bob"));
    let visa = bob.run("wallet payment-method add --label 'Visa 4242' --provider-token tok_1");
    let visa = visa["id"].as_str().unwrap();
    assert_eq!(ada.run("wallet payment-method list")["payment_methods"], Value::Array(Vec::new()));
    let ordered = bob.run(&format!("wallet top-up 25 --method {visa}"));
    assert_eq!((&ordered["order"]["state"], &ordered["balance_usd"]), (&"pending".into(), &"500".into()));
    let order = ordered["order"]["id"].as_str().unwrap();
    operator.run(&format!("wallet order decide {order} settled --reference bank-77"));
    assert_eq!(bob.run("wallet balance")["balance_usd"], "525");
    assert_eq!(texts(&bob.run("wallet order list --state settled")["orders"], "actor"), ["member:bob", "operator"]);

    operator.spend("ada-1", 3000);
    operator.spend("bob-1", 1000);
    let usage = bob.run("usage --by member");
    assert_eq!((texts(&usage["groups"], "id"), &usage["totals"]["cost_usd"]), (vec!["ada", "bob"], &"4".into()));
    let entry = bob.run("ledger list --key ada-1")["transactions"][0]["entry"].as_u64().unwrap();
    assert_eq!(operator.run(&format!("ledger correct {entry} 0.5 --reason 'cut short'"))["balance_usd"], "521.5");
    assert_eq!(bob.run("ledger export --csv books.csv")["entries"], 5);
    let mut books = csv::Reader::from_path(Path::new(&bob.folder).join("books.csv")).unwrap();
    let column = books.headers().unwrap().iter().position(|name| name == "balance_usd").unwrap();
    let balances: Vec<_> = books.records().map(|row| row.unwrap()[column].to_owned()).collect();
    assert_eq!(balances, ["521.5", "521", "522", "525", "500"]);

    let refused = bob.fail("wallet auto-top-up show");
    assert!(refused.contains("PERMISSION_DENIED"), "{refused}");
    let amex = ada.run("wallet payment-method add --label Amex --provider-token tok_2");
    let amex = amex["id"].as_str().unwrap();
    let fields = format!("--threshold 600 --amount 50 --method {amex} --monthly-cap 200");
    let auto = ada.run(&format!("wallet auto-top-up set --enable {fields}"));
    assert_eq!(auto["enabled"], true);
    let pending = operator.run("wallet order list --state pending");
    assert_eq!(texts(&pending["orders"], "actor"), ["system"], "exactly one order for a shortfall");
    operator.run("ledger verify");
}

/// The commands of a page's `console` blocks: each begins with `$`, and has the lines up to the next.
fn pasted(page: &str) -> Vec<String> {
    let (mut commands, mut is_shell) = (Vec::<String>::new(), false);
    for line in page.lines() {
        match line {
            "```console" => is_shell = true,
            "```" => is_shell = false,
            _ if is_shell => match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push(command.to_owned()),
                (None, Some(last)) => *last = format!("{last}\n{line}"),
                (None, None) => panic!("{line} belongs to no command"),
            },
            _ => {}
        }
    }
    commands
}

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The pages below `docs/recipes`, in the order of the book.
fn recipes() -> Vec<String> {
    let summary = page("docs/SUMMARY.md");
    let targets = summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    targets.filter(|target| target.starts_with("recipes/")).map(|target| format!("docs/{target}")).collect()
}

/// Runs `commands` in one shell in `folder`, after `settings`, and asserts that none of them fails or complains.
#[track_caller]
fn run_in_one_shell(folder: &Path, settings: &str, commands: &[String]) {
    let mut script = format!("set -u\n{settings}\nquotactl() {{ {} \"$@\"; }}\n", env!("CARGO_BIN_EXE_quotactl"));
    for command in commands {
        let named = command.lines().next().unwrap().replace('\'', "'\\''");
        let checked = format!("[ $? = 0 ] || {{ printf '%s\\n' '{named}'; exit 1; }}\n");
        script.extend([command.as_str(), "\n", &checked]);
    }
    let mut shell = Command::new("bash");
    for name in ["QUOTAD_TOKEN", "QUOTACTL_CONFIG", "QUOTACTL_CONTEXT"] {
        shell.env_remove(name);
    }
    shell.env("HOME", folder).current_dir(folder).stdin(Stdio::null()).arg("-c").arg(script);
    let output = shell.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{wrong}", said.lines().last().unwrap_or_default());
    assert_eq!(wrong, "", "nothing is complained about");
    let wide = said.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "everything fits 80 columns");
}

/// P12: in the order of the book, on a fresh demo, in one shell.
#[test]
fn the_recipes_run_as_they_stand() {
    let pages = recipes();
    assert_eq!(pages.len(), 5, "{pages:?}");
    let commands: Vec<String> = pages.iter().flat_map(|path| pasted(&page(path))).collect();
    assert!(commands.len() > 50, "{} commands", commands.len());
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_quotad"));
    demo.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut demo = Ended(demo.spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let settings = lines.find(|line| line.trim_start().starts_with("export QUOTAD_ENDPOINT=")).unwrap();
    // Kept open and read, so that the demo's next line finds a reader.
    std::thread::spawn(move || lines.for_each(drop));
    run_in_one_shell(folder.path(), &settings, &commands);
}

/// Only `quotactl` is run: the page's other commands start the server, which the test does, and need `grpcurl` or `buf`.
#[test]
fn the_start_page_runs_as_it_stands() {
    let commands = pasted(&page("docs/start.md"));
    let is_run = |command: &&String| ["export ", "quotactl "].iter().any(|start| command.starts_with(start));
    let run: Vec<String> = commands.iter().filter(is_run).cloned().collect();
    assert!(run.len() > 10, "{run:?}");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("quotad-data");
    let server = Server::start(&data);
    run_in_one_shell(folder.path(), &format!("export QUOTAD_ENDPOINT={}", server.endpoint), &run);

    let calls: Vec<String> =
        pasted(&page("README.md")).into_iter().filter(|line| line.starts_with("grpcurl ")).collect();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| commands.contains(call)), "README.md and docs/start.md show the same calls");
}

/// Ends with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
