//! `evert drop`: removes a source, table, view or sink, and what it left behind. A view goes also from a process that
//! runs; all else waits until it has ended.

use std::path::Path;

use change::catalog::{CatalogChange, Kind};
use serve::client::{Client, ClientError};
use source::SourceConfig;

use crate::catalogue::Catalogue;
use crate::cli::DropArgs;
use crate::environment::expand;
use crate::failure::Failure;
use crate::intent::{self, Opened};
use crate::{directory, output};

/// Drops the thing of that name, unless something else needs it.
pub(crate) async fn drop(arguments: DropArgs) -> Result<(), Failure> {
    let root = arguments.dir.path();
    directory::must_exist(&root)?;
    let name = arguments.name.as_str();
    let mut opened = match Opened::new(&root) {
        Err(in_use @ Failure::InUse { .. }) => return drop_running(&root, name, in_use).await,
        opened => opened?,
    };
    let Some(kind) = kind_of(&opened.catalogue, name) else {
        return Err(unknown(name, &opened.catalogue));
    };
    intent::still_plans_without(&opened.catalogue, kind, name)?;
    match kind {
        Kind::Source => drop_source(&mut opened, name, arguments.force).await?,
        Kind::Sink => {
            remove_index(&root, &opened.catalogue, name)?;
            opened.change_catalogue(vec![removal(kind, name)])?;
        }
        Kind::TableStatement => intent::forget_table(&mut opened, name)?,
        Kind::View | Kind::SourceState | Kind::Table => {
            opened.change_catalogue(vec![removal(kind, name)])?;
        }
    }
    output::print(format!("dropped {} {name}\n", intent::word_for(kind)).as_bytes())
}

/// What the name means to who drops it.
fn kind_of(catalogue: &Catalogue, name: &str) -> Option<Kind> {
    let kinds = [Kind::Sink, Kind::View, Kind::TableStatement, Kind::Source];
    kinds.into_iter().find(|&kind| catalogue.get(kind, name).is_some())
}

/// Asks the process that has the directory to drop a view; all else waits for its end.
async fn drop_running(root: &Path, name: &str, in_use: Failure) -> Result<(), Failure> {
    // What is in no catalogue may be a view that is still being filled: the process knows.
    let kind = kind_of(&Opened::at_rest(root)?.catalogue, name);
    if kind.is_some_and(|kind| kind != Kind::View) {
        return Err(in_use);
    }
    let statement = format!("drop view \"{}\"", name.replace('"', "\"\""));
    match Client::new(&directory::socket(root)).sql(&statement).await {
        Ok(_) => output::print(format!("dropped view {name}\n").as_bytes()),
        Err(ClientError::NotRunning { .. }) => Err(in_use),
        Err(error) => Err(error.into()),
    }
}

fn removal(kind: Kind, name: &str) -> CatalogChange {
    CatalogChange { kind, name: name.to_owned(), definition: None }
}

fn unknown(name: &str, catalogue: &Catalogue) -> Failure {
    let mut names = Vec::new();
    for kind in [Kind::Source, Kind::TableStatement, Kind::View, Kind::Sink] {
        let of_kind = catalogue.of(kind).into_iter();
        names.extend(of_kind.map(|(name, _)| format!("{} {name}", intent::word_for(kind))));
    }
    let help = if names.is_empty() {
        "the directory holds none".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    Failure::Usage { what: format!("there is no source, table, view or sink named {name}"), help }
}

/// Removes slot and publication, empties the source's tables, and forgets the source.
async fn drop_source(opened: &mut Opened, name: &str, force: bool) -> Result<(), Failure> {
    let statement = opened.catalogue.get(Kind::Source, name).unwrap_or_default().to_owned();
    for spec in plan::parse(&statement)?.sources() {
        let config =
            SourceConfig { name: name.into(), url: expand(&spec.url)?, options: spec.options };
        let state = opened.catalogue.get(Kind::SourceState, name).map(str::to_owned);
        match source::drop_source(config, state).await {
            Ok(()) => {}
            Err(error) if force => {
                tracing::warn!(
                    source = name,
                    "{error}; its slot and publication may still be there"
                );
            }
            Err(error) => return Err(Failure::source(name, error)),
        }
    }
    intent::forget_source(opened, name)
}

/// Removes a search sink's index. Other targets keep what they hold.
fn remove_index(root: &Path, catalogue: &Catalogue, sink: &str) -> Result<(), Failure> {
    let statement = catalogue.get(Kind::Sink, sink).unwrap_or_default();
    for spec in plan::parse(statement)?.sinks() {
        let dir = directory::search_dir(root, &spec.view);
        if spec.url == "search" && dir.is_dir() {
            std::fs::remove_dir_all(&dir)
                .map_err(|error| Failure::io(format!("cannot remove {}", dir.display()), error))?;
        }
    }
    Ok(())
}
