//! Sources as text: code without comments and tests, and the paths in it.

/// Code alone: comments are emptied, and what stands behind the first inline test module is cut.
pub(crate) fn without_tests(text: &str) -> String {
    let mut lines = Vec::new();
    let mut source = text.lines().peekable();
    while let Some(line) = source.next() {
        let opens = |next: &&&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim() == "#[cfg(test)]" && source.peek().filter(|next| opens(next)).is_some() {
            break;
        }
        lines.push(line.split_once("//").map_or(line, |(code, _)| code));
    }
    lines.join("\n")
}

/// Paths that begin at `crate`, `super` or `self`, with the lines in which their statements begin.
pub(crate) fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (start, _) in ["crate::", "super::", "self::", "sealed_shuffle::"]
        .iter()
        .flat_map(|begin| code.match_indices(begin))
    {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        expand(&code[start..], &mut Vec::new(), &mut |path, _| found.push((line, path)));
    }
    found
}

/// A name that a `use` brings, with the path that it stands for.
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
    pub(crate) public: bool,
}

/// What the `use` statements bring. The name is `*` where a module brings all that it has.
pub(crate) fn imports(code: &str) -> Vec<Import> {
    const USE: &str = "use ";
    let mut found = Vec::new();
    for (start, _) in code.match_indices(USE) {
        let before = &code[..start];
        if before.is_empty() || before.ends_with([' ', '\n']) {
            let public = before.ends_with("pub ");
            expand(&code[start + USE.len()..], &mut Vec::new(), &mut |path, name| {
                found.push(Import { name: name.to_owned(), path, public });
            });
        }
    }
    found
}

/// Every path of a `use` tree, or the one path that stands there, with its name; answers how many bytes it read.
fn expand(code: &str, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>, &str)) -> usize {
    let word = word(code);
    if word.is_empty() {
        return match code.chars().next() {
            Some('{') => expand_group(code, prefix, found),
            Some('*') => {
                found(prefix.clone(), "*");
                1
            }
            _ => 0,
        };
    }
    let mut read = word.len();
    prefix.push(word.to_owned());
    if code[read..].starts_with("::") {
        read += 2;
        read += expand(&code[read..], prefix, found);
    } else if let Some(rest) = code[read..].strip_prefix(" as ") {
        let name = self::word(rest);
        found(prefix.clone(), name);
        read = code.len() - rest.len() + name.len();
    } else {
        found(prefix.clone(), word);
    }
    prefix.pop();
    read
}

fn word(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

fn expand_group(code: &str, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>, &str)) -> usize {
    let mut read = 1;
    loop {
        let rest = code[read..].trim_start_matches([',', ' ', '\n']);
        read = code.len() - rest.len();
        match expand(rest, prefix, found) {
            0 => return read + 1,
            more => read += more,
        }
    }
}
