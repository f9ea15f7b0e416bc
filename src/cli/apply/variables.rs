//! `$NAME` and `${NAME}` in a manifest's texts, as `wskdeploy` has them: from `--var`, then the environment.

use crate::cli::payload::Pair;

/// Where variables come from.
pub(super) struct Variables<'a> {
    pub(super) given: &'a [Pair],
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    /// `text` with its variables replaced; `$$` is a dollar sign, and one before anything but a name is left as it is.
    /// `Err` says what is not set.
    pub(super) fn replaced(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out += before;
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((name, after)) if is_name(name) => (name, after),
                Some(_) => ("", after),
                None => after.split_at(after.find(|c| !is_of_name(c)).unwrap_or(after.len())),
            };
            if is_name(name) {
                out += &self.value(name)?;
                rest = after;
            } else {
                out.push('$');
                rest = rest.split_once('$').map_or("", |(_, after)| after);
            }
        }
        Ok(out + rest)
    }

    fn value(&self, name: &str) -> Result<String, String> {
        let given = self.given.iter().rev().find(|pair| pair.key == name).map(|pair| pair.text.clone());
        given.or_else(|| (self.env)(name)).ok_or_else(|| {
            format!("the variable `{name}` is not set: give --var {name}=VALUE, or set it in the environment")
        })
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_missing_ones_named() {
        let given = [Pair { key: "HOST".into(), text: "h".into() }];
        let env = |name: &str| (name == "PORT").then(|| "1883".to_owned());
        let variables = Variables { given: &given, env: &env };
        let of = |text: &str| variables.replaced(text).unwrap();
        assert_eq!(of("mqtt://$HOST:${PORT}/x"), "mqtt://h:1883/x");
        assert_eq!(of("${HOST}name $$HOST $ 5$ ${} $1"), "hname $HOST $ 5$ ${} $1");
        assert!(variables.replaced("$NO").unwrap_err().contains("`NO` is not set"));
        assert!(variables.replaced("$HOSTname").unwrap_err().contains("`HOSTname` is not set"));
    }
}
