//! Reads Rust source just far enough to judge its style: comments, literals, functions, test code and paths. No parser.

/// A file with what the checks ask of it. Lines count from 1.
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and the insides of literals blanked, line by line as long as the original.
    code: Vec<char>,
    /// For each line whether only tests see it.
    test_lines: Vec<bool>,
}

/// A function from the line of its `fn` to that of its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(&text.chars().collect::<Vec<_>>());
        let mut source = Self { path: path.to_owned(), text: text.to_owned(), code, test_lines: Vec::new() };
        source.test_lines = source.find_test_lines();
        source
    }

    /// The file's first name below `src`, such as `engine`; else the folder, such as `tests`.
    pub(crate) fn layer(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    pub(crate) fn in_src(&self) -> bool {
        self.path.starts_with("src/")
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// A file of nothing but tests or benchmarks.
    pub(crate) fn is_test_file(&self) -> bool {
        !self.in_src() || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Lines whose code contains `pattern`; where the pattern begins or ends with a word, only as a whole word.
    pub(crate) fn lines_with(&self, pattern: &str) -> Vec<usize> {
        self.find(pattern).into_iter().map(|at| self.line_of(at)).collect()
    }

    /// What follows `root::`, with its line: `{a::b, c}` gives `a` and `c`.
    pub(crate) fn paths_below(&self, root: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for at in self.find(&format!("{root}::")) {
            // `tracing::log::x` is no path into `log`.
            if self.code[..at].ends_with(&[':', ':']) && at >= 3 && is_word(self.code[at - 3]) {
                continue;
            }
            let next = at + root.chars().count() + 2;
            if self.code.get(next) == Some(&'{') {
                found.extend(self.group_heads(next));
            } else {
                found.push((self.line_of(next), self.word_at(next)));
            }
        }
        found
    }

    /// The top-level modules that the file imports, through `crate::` or by climbing up to the root.
    pub(crate) fn crate_paths(&self) -> Vec<(usize, String)> {
        let below = self.path.trim_start_matches("src/");
        let to_root = vec!["super"; below.split('/').count()].join("::");
        let climbs = self.paths_below(&to_root).into_iter();
        // In an inline `mod tests` the same climb ends one level lower.
        let climbs = climbs.filter(|(line, _)| self.is_test_file() || !self.is_test_line(*line));
        self.paths_below("crate").into_iter().chain(climbs).collect()
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in self.find("fn ") {
            let name = self.word_at(at + 3);
            let Some(open) = self.body(at + 3).filter(|_| !name.is_empty()) else { continue };
            let line = self.line_of(at);
            let last = self.line_of(self.closing(open));
            found.push(Function { name, line, lines: last - line + 1 });
        }
        found
    }

    fn find(&self, pattern: &str) -> Vec<usize> {
        let pattern: Vec<char> = pattern.chars().collect();
        let (first, last) = (pattern[0], pattern[pattern.len() - 1]);
        let whole = |at: usize| {
            let before = at.checked_sub(1).map(|before| self.code[before]);
            let after = self.code.get(at + pattern.len()).copied();
            let cuts_word =
                is_word(first) && before.is_some_and(is_word) || is_word(last) && after.is_some_and(is_word);
            !cuts_word
        };
        let windows = self.code.windows(pattern.len()).enumerate();
        windows.filter(|(at, window)| *window == pattern && whole(*at)).map(|(at, _)| at).collect()
    }

    /// The first word of each part of the `{…}` that opens at `open`.
    fn group_heads(&self, open: usize) -> Vec<(usize, String)> {
        let (mut heads, mut depth, mut expects) = (Vec::new(), 0_usize, false);
        for at in open..=self.closing(open) {
            match self.code[at] {
                '{' => (depth, expects) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' => expects = depth == 1,
                letter if expects && is_word(letter) => {
                    heads.push((self.line_of(at), self.word_at(at)));
                    expects = false;
                }
                _ => {}
            }
        }
        heads
    }

    /// Where the body of the item that is being declared at `from` opens, if it has one.
    fn body(&self, from: usize) -> Option<usize> {
        let mut nested = 0_i32;
        for (at, letter) in self.code.iter().enumerate().skip(from) {
            match letter {
                '(' | '[' => nested += 1,
                ')' | ']' => nested -= 1,
                '{' if nested == 0 => return Some(at),
                ';' if nested == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// The brace that closes the one at `open`, or the file's end.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0_i32;
        for (at, letter) in self.code.iter().enumerate().skip(open) {
            depth += i32::from(*letter == '{') - i32::from(*letter == '}');
            if depth == 0 {
                return at;
            }
        }
        self.code.len() - 1
    }

    fn find_test_lines(&self) -> Vec<bool> {
        let mut lines = vec![self.is_test_file(); self.text.lines().count()];
        for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
            for at in self.find(attribute) {
                let end = self.body(at + attribute.len()).map_or(at, |open| self.closing(open));
                lines[self.line_of(at) - 1..self.line_of(end)].fill(true);
            }
        }
        lines
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].iter().filter(|letter| **letter == '\n').count() + 1
    }

    fn word_at(&self, at: usize) -> String {
        self.code[at..].iter().take_while(|letter| is_word(**letter)).collect()
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Replaces comments and what stands inside quotes by spaces; newlines stay.
fn blank(text: &[char]) -> Vec<char> {
    let mut code = Vec::with_capacity(text.len());
    while code.len() < text.len() {
        let at = code.len();
        let end = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => line_end(text, at),
            '/' if text.get(at + 1) == Some(&'*') => comment_end(text, at),
            '"' => string_end(text, at),
            'r' if at == 0 || !is_word(text[at - 1]) || "bc".contains(text[at - 1]) => raw_string_end(text, at),
            '\'' => char_end(text, at),
            _ => at,
        };
        if end == at {
            code.push(text[at]);
        } else {
            code.extend(text[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
        }
    }
    code
}

fn line_end(text: &[char], at: usize) -> usize {
    text[at..].iter().position(|letter| *letter == '\n').map_or(text.len(), |length| at + length)
}

fn comment_end(text: &[char], at: usize) -> usize {
    let (mut depth, mut next) = (0_usize, at);
    while next < text.len() {
        match &text[next..text.len().min(next + 2)] {
            ['/', '*'] => (depth, next) = (depth + 1, next + 2),
            ['*', '/'] if depth == 1 => return next + 2,
            ['*', '/'] => (depth, next) = (depth - 1, next + 2),
            _ => next += 1,
        }
    }
    text.len()
}

fn string_end(text: &[char], at: usize) -> usize {
    let mut next = at + 1;
    while next < text.len() {
        match text[next] {
            '\\' => next += 2,
            '"' => return next + 1,
            _ => next += 1,
        }
    }
    text.len()
}

/// `at` itself unless `r"`, `r#"` … begins there: a raw identifier or a plain word.
fn raw_string_end(text: &[char], at: usize) -> usize {
    let hashes = text[at + 1..].iter().take_while(|letter| **letter == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return at;
    }
    let closes = |quote: &usize| {
        text[*quote] == '"' && text[quote + 1..].iter().take(hashes).filter(|letter| **letter == '#').count() == hashes
    };
    (open + 1..text.len()).find(closes).map_or(text.len(), |quote| quote + 1 + hashes)
}

/// `at` itself where the quote begins a lifetime.
fn char_end(text: &[char], at: usize) -> usize {
    match text.get(at + 1) {
        // The escaped letter may itself be a quote.
        Some('\\') => (at + 3..text.len()).find(|next| text[*next] == '\'').map_or(text.len(), |quote| quote + 1),
        Some(_) if text.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}
