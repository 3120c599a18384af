//! `${NAME}` in URLs: secrets stay in the environment, and out of the log and the process list.

use crate::failure::Failure;

/// Replaces each `${NAME}` by that environment variable's value.
pub(crate) fn expand(url: &str) -> Result<String, Failure> {
    expand_from(url, |name| std::env::var(name).ok())
}

fn expand_from(url: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, Failure> {
    let mut text = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else { break };
        let Some(value) = value(name) else {
            return Err(Failure::Usage {
                what: format!("the URL {} needs the environment variable {name}", masked(url)),
                help: format!("set it: {name}=… evert run …"),
            });
        };
        text.push_str(before);
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// The URL with its password hidden, for people and logs.
pub(crate) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((user, _password)) => format!("{scheme}://{user}:***@{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_missing_ones_are_named() {
        let value = |name: &str| (name == "PW").then(|| "s3cret".to_owned());
        let url = expand_from("postgres://app:${PW}@h/db", value).unwrap();
        assert_eq!(url, "postgres://app:s3cret@h/db");
        assert_eq!(expand_from("a$b{c}", value).unwrap(), "a$b{c}");
        let error = expand_from("postgres://app:${OTHER}@h/db", value).unwrap_err();
        assert!(error.to_string().contains("OTHER"), "{error}");
    }

    #[test]
    fn passwords_are_masked() {
        assert_eq!(
            masked("postgres://app:s3cret@h:5432/db?x=1"),
            "postgres://app:***@h:5432/db?x=1"
        );
        assert_eq!(masked("postgres://app@h/db"), "postgres://app@h/db");
        assert_eq!(masked("events.csv"), "events.csv");
    }
}
