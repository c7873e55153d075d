//! Settings from the config file: TOML, keys named as the flags are.

use std::{fs, ops::Range, path::Path};

use clap::{Args as _, Command};

use super::{ConfigError, settings::Settings};

/// Reads the layer from a file.
pub(super) fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::FileNotRead { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads the layer from the text of a file; `path` is for errors.
pub(super) fn parse(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| refusal(path, text, None, &error))?;
    if let Some(key) = table.keys().find(|key| !keys().contains(key)) {
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            key: key.clone(),
            near: near(key),
        });
    }
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| refusal(path, text, None, &error))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| refusal(path, text, Some(error.path().to_string()), error.inner()))
}

/// Every key, in the order of the flags.
pub(super) fn keys() -> Vec<String> {
    Settings::augment_args(Command::new("file"))
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

/// The key that was likely meant.
fn near(key: &str) -> Option<String> {
    keys()
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&known, key), known))
        .filter(|&(likeness, _)| likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

fn refusal(path: &Path, text: &str, key: Option<String>, error: &toml::de::Error) -> ConfigError {
    let before = |span: Range<usize>| text.get(..span.start).unwrap_or(text);
    ConfigError::FileNotUnderstood {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| before(span).matches('\n').count() + 1),
        key: key.filter(|key| key != ".").map(|key| format!("{key}: ")).unwrap_or_default(),
        message: error.message().replace('\n', ", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{SocketLbScope, XdpMode};

    fn error(text: &str) -> String {
        parse(Path::new("shunt.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_named_as_the_flags_are() {
        let text = "node-name = \"a\"\nuplink = \"eth0,eth1\"\nxdp = \"off\"\n\
                    socket-lb = \"all\"\nmax-services = 7\nno-masquerade = true\n";
        let settings = parse(Path::new("shunt.toml"), text).unwrap();
        assert_eq!(settings.node_name.as_deref(), Some("a"));
        assert_eq!(settings.uplink.unwrap().0.len(), 2);
        assert_eq!(settings.xdp, Some(XdpMode::Off));
        assert_eq!(settings.socket_lb, Some(SocketLbScope::All));
        assert_eq!(settings.max_services.unwrap().get(), 7);
        assert_eq!(settings.no_masquerade, Some(true));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        assert_eq!(
            error("node_name = \"a\""),
            "shunt.toml: unknown key `node_name`: did you mean `node-name`?"
        );
        assert!(error("zzz = 1").contains("unknown key `zzz`: known keys are node-name,"));
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line_and_key() {
        assert_eq!(
            error("node-name = \"a\"\nxdp = \"sometimes\"\n"),
            "shunt.toml:2: xdp: unknown variant `sometimes`, expected one of `auto`, `native`, \
             `generic`, `off`"
        );
        assert!(error("bridge = \"much-too-long-a-name\"").contains("bridge: `much-too-long"));
        assert!(error("x = \n").starts_with("shunt.toml:1: "), "{}", error("x = \n"));
    }
}
