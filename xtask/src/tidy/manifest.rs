//! As much of TOML as our manifests use: sections and keys, one a line.

/// One `key = value` of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Such as `dependencies`, `target.'cfg(unix)'.dependencies`, or empty above the first section.
    pub(crate) section: &'a str,
    /// The key up to its first dot: `rayon` of `rayon.workspace = true`.
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

/// Every entry in order. A section that names a dependency, such as `[dependencies.rayon]`, counts as
/// the entry `rayon` of `dependencies`.
pub(crate) fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut section = "";
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']);
            if let Some((table, key)) = section.rsplit_once('.')
                && table.ends_with("dependencies")
            {
                entries.push(Entry { section: table, key, value: "", line });
            }
        } else if let Some((key, value)) = content.split_once('=')
            && !content.starts_with('#')
        {
            let key = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
            entries.push(Entry { section, key, value: value.trim(), line });
        }
    }
    entries
}

/// The kinds of dependency that cargo knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DependencyKind {
    Normal,
    Dev,
    Build,
}

impl Entry<'_> {
    /// Whether this entry is a dependency, for whichever target, and of which kind.
    pub(super) fn dependency(&self) -> Option<DependencyKind> {
        let table = self.section.rsplit_once('.').map_or(self.section, |(target, table)| {
            if target.starts_with("target") { table } else { "" }
        });
        match table {
            "dependencies" => Some(DependencyKind::Normal),
            "dev-dependencies" => Some(DependencyKind::Dev),
            "build-dependencies" => Some(DependencyKind::Build),
            _ => None,
        }
    }

    /// The package that it stands for: the key, or what `package = "..."` says.
    pub(super) fn package(&self) -> &str {
        let renamed = self.value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
        renamed.unwrap_or(self.key)
    }

    /// The value without its quotes.
    pub(super) fn string(&self) -> &str {
        self.value.trim_matches('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_dependencies_however_they_are_written() {
        let text = "[package]\nname = \"a\"\n[dependencies]\nrayon.workspace = true\n# memmap2 = \"1\"\n\
            b = { package = \"clap\", version = \"4\" }\n[dependencies.rustix]\nversion = \"1\"\n\
            [target.'cfg(unix)'.dependencies]\nmemmap2 = \"0.9\"\n[dev-dependencies]\npkv-sim.workspace = true\n";
        let entries = entries(text);
        let found: Vec<_> = entries
            .iter()
            .filter_map(|entry| Some((entry.package(), entry.dependency()?, entry.line)))
            .collect();
        assert_eq!(
            found,
            [
                ("rayon", DependencyKind::Normal, 4),
                ("clap", DependencyKind::Normal, 6),
                ("rustix", DependencyKind::Normal, 7),
                ("memmap2", DependencyKind::Normal, 10),
                ("pkv-sim", DependencyKind::Dev, 12),
            ]
        );
        assert!(entries.iter().any(|entry| entry.section == "package" && entry.string() == "a"));
    }
}
