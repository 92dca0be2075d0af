//! Options of a command from a TOML table: names with underscores, checked against the command's own flags.

use clap::{ArgAction, CommandFactory as _};
use polyphony_io::{Error, Result};
use toml::{Table, Value};

/// Flags of `polyphony COMMAND` from `table`, as `--learning-rate=5e-6`. `reserved` are the fields that the
/// experiment sets itself; `place` names the table in errors.
///
/// # Errors
/// For a field that is no flag of the command, is reserved, or is a table or a date.
pub(super) fn flags(
    command: &'static str,
    place: &str,
    table: &Table,
    reserved: &[&str],
) -> Result<Vec<String>> {
    let program = crate::cli::Arguments::command();
    let arguments: Vec<&clap::Arg> = program
        .find_subcommand(command)
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .collect();
    let mut flags = Vec::new();
    for (field, value) in table {
        if reserved.contains(&field.as_str()) {
            return Err(Error::config(
                format!("{place}.{field}"),
                "is set by the experiment",
                "leave it out",
            ));
        }
        let flag = field.replace('_', "-");
        let known = arguments
            .iter()
            .find(|argument| argument.get_long() == Some(&flag));
        let Some(argument) = known else {
            let known = arguments.iter().filter_map(|argument| argument.get_long());
            let known: Vec<String> = known
                .map(|name| name.replace('-', "_"))
                .filter(|name| !reserved.contains(&name.as_str()) && name != "help")
                .collect();
            return Err(Error::Unknown {
                what: "option",
                given: format!("{place}.{field}"),
                known: known.join(", "),
            });
        };
        match value {
            Value::Boolean(is_set) if matches!(argument.get_action(), ArgAction::SetTrue) => {
                if *is_set {
                    flags.push(format!("--{flag}"));
                }
            }
            Value::Array(values) => {
                for value in values {
                    flags.push(format!("--{flag}={}", text(place, field, value)?));
                }
            }
            value => flags.push(format!("--{flag}={}", text(place, field, value)?)),
        }
    }
    Ok(flags)
}

/// The text of a value on a command line.
pub(super) fn text(place: &str, field: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => Err(Error::config(
            format!("{place}.{field}"),
            format!("a {} is no value of an option", value.type_str()),
            "write a string, a number, a boolean, or an array of these",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<Vec<String>> {
        flags("train", "train", &toml.parse().unwrap(), &["out"])
    }

    #[test]
    fn fields_become_flags() {
        let toml = "beta = 0.05\ntarget_modules = ['q_proj', 'v_proj']\nuse_rslora = true";
        let expected = [
            "--beta=0.05",
            "--target-modules=q_proj",
            "--target-modules=v_proj",
            "--use-rslora=true",
        ];
        assert_eq!(of(toml).unwrap(), expected);
        let pairs = "gap = -3\nbest_winners = true\nignore_time_order = false";
        let flags = flags("pairs", "pairs", &pairs.parse().unwrap(), &[]).unwrap();
        assert_eq!(flags, ["--best-winners", "--gap=-3"]);
    }

    #[test]
    fn other_fields_are_refused() {
        let message = of("out = 'x'").unwrap_err().to_string();
        assert_eq!(message, "train.out: is set by the experiment: leave it out");
        let message = of("lr = 1").unwrap_err().to_string();
        assert!(
            message.starts_with("unknown option `train.lr`: known are "),
            "{message}"
        );
        assert!(message.contains("learning_rate"), "{message}");
        let message = of("beta = 2020-01-01").unwrap_err().to_string();
        assert!(message.contains("train.beta: a datetime"), "{message}");
    }
}
