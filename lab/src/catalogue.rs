//! The scenarios that there are: finds files, reads them and lists them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::scenario::{Diagnostics, Scenario, Tag, hint};

/// The scenario files of a directory, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    files: Vec<PathBuf>,
}

/// Why a scenario is not to be had.
#[derive(Debug)]
pub enum CatalogueError {
    /// A directory or file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no scenario of this name.
    Unknown {
        /// The name that was asked for.
        name: String,
        /// What there is instead.
        hint: String,
    },
    /// A scenario file is wrong.
    Wrong(Diagnostics),
}

impl Catalogue {
    /// The files of `dir` that end in `.yaml`.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Unreadable`] if the directory cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, CatalogueError> {
        let unreadable = |source| CatalogueError::Unreadable { path: dir.to_owned(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
        files.sort();
        Ok(Self { files })
    }

    /// All files, sorted by name.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The file of a scenario: `name` is a path if it has a slash or ends in `.yaml`, else the name of a scenario of the
    /// catalogue.
    ///
    /// # Errors
    ///
    /// [`CatalogueError::Unknown`] for a name that there is not. Whether a path exists is seen when it is read.
    pub fn find(&self, name: &str) -> Result<PathBuf, CatalogueError> {
        if name.contains('/') || name.ends_with(".yaml") {
            return Ok(PathBuf::from(name));
        }
        self.files.iter().find(|file| stem(file) == name).cloned().ok_or_else(|| {
            let hint = hint(name, "there are", self.files.iter().map(|file| stem(file)));
            CatalogueError::Unknown { name: name.to_owned(), hint }
        })
    }

    /// Reads every scenario: those that are right, and what is wrong with the others.
    pub fn read_all(&self) -> (Vec<Scenario>, Vec<CatalogueError>) {
        let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
        for file in &self.files {
            match read(file) {
                Ok(scenario) => scenarios.push(scenario),
                Err(error) => errors.push(error),
            }
        }
        (scenarios, errors)
    }
}

/// Reads a scenario file.
///
/// # Errors
///
/// [`CatalogueError::Unreadable`] if it is not there, [`CatalogueError::Wrong`] if it is wrong.
pub fn read(path: &Path) -> Result<Scenario, CatalogueError> {
    let source =
        fs::read_to_string(path).map_err(|source| CatalogueError::Unreadable { path: path.to_owned(), source })?;
    Scenario::parse(&path.to_string_lossy(), &source).map_err(CatalogueError::Wrong)
}

/// What `lab list` prints: a line for each scenario, in aligned columns, under a line of headings.
pub fn listing(scenarios: &[Scenario]) -> String {
    let headings = ["scenario", "tags", "engines", "about"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(headings).chain(scenarios.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name_width, tags_width, engines_width) = (width(0), width(1), width(2));
    let lines = rows.iter().map(|[name, tags, engines, about]| {
        format!("{name:name_width$}  {tags:tags_width$}  {engines:engines_width$}  {about}\n")
    });
    lines.collect()
}

fn row(scenario: &Scenario) -> [String; 4] {
    let tags: Vec<String> = scenario.tags.iter().map(Tag::to_string).collect();
    let tags = if tags.is_empty() { "-".to_owned() } else { tags.join(",") };
    let engines = scenario.only.as_ref().map_or("all".to_owned(), |only| only.engine.to_string());
    let about = scenario.about.split_whitespace().collect::<Vec<_>>().join(" ");
    [scenario.name.clone(), tags, engines, about]
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

impl CatalogueError {
    /// The text to print, with the escape sequences of a terminal; see [`Diagnostics::styled`].
    pub fn styled(&self) -> String {
        match self {
            CatalogueError::Wrong(diagnostics) => diagnostics.styled(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogueError::Unreadable { path, source } => write!(f, "error: {}: {source}", path.display()),
            CatalogueError::Unknown { name, hint } => write!(f, "error: no scenario is called \"{name}\": {hint}"),
            CatalogueError::Wrong(diagnostics) => diagnostics.fmt(f),
        }
    }
}

impl std::error::Error for CatalogueError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios")))
            .expect("the scenarios are there")
    }

    #[test]
    fn every_scenario_of_the_project_is_right() {
        let (scenarios, errors) = catalogue().read_all();
        let errors: Vec<String> = errors.iter().map(CatalogueError::to_string).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n\n"));
        assert!(scenarios.len() >= 13);
    }

    #[test]
    fn every_scenario_tells_editors_of_its_schema() {
        for file in catalogue().files() {
            let source = fs::read_to_string(file).unwrap();
            let first = source.lines().next().unwrap_or_default();
            assert_eq!(first, "# yaml-language-server: $schema=scenario.schema.json", "{}", file.display());
        }
    }

    #[test]
    fn a_scenario_is_found_by_name_or_path() {
        let catalogue = Catalogue { files: ["a/first-node.yaml", "a/ipv6.yaml"].map(PathBuf::from).into() };
        let find = |name| catalogue.find(name).map_err(|error| error.to_string());
        assert_eq!(find("ipv6"), Ok(PathBuf::from("a/ipv6.yaml")));
        assert_eq!(find("/tmp/x.yaml"), Ok(PathBuf::from("/tmp/x.yaml")));
        assert_eq!(
            find("frist-node"),
            Err("error: no scenario is called \"frist-node\": did you mean \"first-node\"?".into())
        );
        assert_eq!(find("x"), Err("error: no scenario is called \"x\": there are first-node, ipv6".into()));
    }

    #[test]
    fn the_listing_is_aligned() {
        let source = "scenario: x\nabout: >\n  One\n  thing.\ntags: [slow]\nonly: {engine: kernel, because: it is}\n\
                      router: {routes: 1}\nnodes: {n: 1}\nsteps: [{join: n1}]\n";
        let scenario = Scenario::parse("x.yaml", source).unwrap();
        assert_eq!(listing(&[scenario]), "scenario  tags  engines  about\nx         slow  kernel   One thing.\n");
    }
}
