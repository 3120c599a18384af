//! The options of sinks: what `create sink … (option = 'value')` may say.

use view::ViewInfo;

use crate::{SinkConfig, SinkError};

/// Refuses options that a kind of sink does not know.
pub(crate) fn check_known(config: &SinkConfig, known: &[&str]) -> Result<(), SinkError> {
    let Some(name) = config.options.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let problem = match known {
        [] => "this sink has no options".to_owned(),
        known => format!("this sink knows {}", known.join(", ")),
    };
    Err(SinkError::Option { option: name.clone(), problem })
}

/// Reads whether rows of unknown origin may be replaced.
pub(crate) fn may_replace(config: &SinkConfig) -> Result<bool, SinkError> {
    match config.options.get("on_existing").map(String::as_str) {
        None | Some("refuse") => Ok(false),
        Some("replace") => Ok(true),
        Some(other) => Err(SinkError::Option {
            option: "on_existing".to_owned(),
            problem: format!("it is refuse or replace, not {other}"),
        }),
    }
}

/// Returns the view with the columns that option `key` names as its key.
pub(crate) fn with_key(config: &SinkConfig) -> Result<ViewInfo, SinkError> {
    let mut view = config.view.clone();
    let Some(names) = config.options.get("key") else { return Ok(view) };
    let mut key = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Ok(column) = view.schema.index_of(name) else {
            let columns: Vec<&str> =
                view.schema.fields().iter().map(|field| field.name().as_str()).collect();
            let problem = format!("the view has no column {name}; it has {}", columns.join(", "));
            return Err(SinkError::Option { option: "key".to_owned(), problem });
        };
        key.push(column);
    }
    key.sort_unstable();
    key.dedup();
    view.key = key;
    Ok(view)
}

/// Returns the URL with its password hidden.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((login, _)) = rest[..end].rsplit_once('@') else { return url.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***{}", &rest[login.len()..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hidden_wherever_it_ends() {
        let check = |url, shown| assert_eq!(without_password(url), shown);
        check("postgres://u:p@ss@h/db/t", "postgres://u:***@h/db/t");
        check("postgres://u@h/db/t", "postgres://u@h/db/t");
        check("postgres://h/db/t@x:y", "postgres://h/db/t@x:y");
        check("rows.csv", "rows.csv");
    }
}
