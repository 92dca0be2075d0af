//! `define_settings!`: each hyperparameter is written once, as flag, TOML field, default and bound.

/// The type of a field of `Config`: `T` for required fields and defaults, `Option<T>` for optional ones.
macro_rules! config_type {
    (optional, $type:ty) => { Option<$type> };
    ($kind:ident, $type:ty) => { $type };
}

/// The value of a field of `Config`, from the same field of `Settings` and the default.
macro_rules! config_value {
    (required, $name:ident, $value:expr) => {
        $value.ok_or(stringify!($name))?
    };
    (optional, $name:ident, $value:expr) => {
        $value
    };
    (default, $name:ident, $value:expr, $default:expr) => {
        match $value {
            Some(value) => value,
            None => $default,
        }
    };
}

/// Defines `Settings`, whose fields are all optional, and `Config`, which is complete.
///
/// `|method, on_gpu|` names what defaults depend on. Under a help heading each line is a documentation comment,
/// clap's attributes, the name with its type, and the kind of the field: `required`, `optional`, or
/// `default(value)`; then `where BOUND`, see [`super::bound::Bound`].
macro_rules! define_settings {
    (|$method:ident, $on_gpu:ident| $($heading:literal {$(
        $(#[doc = $doc:literal])+
        [$($arg:tt)+]
        $name:ident: $type:ty = $kind:ident $(($default:expr))? $(where $bound:expr)?;
    )+})+) => {
        /// Options of a run: each is a flag, and a field of the TOML file.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            /// The method: in a file only, as a run's own `config.toml` has it.
            #[arg(skip)]
            pub method: Option<Method>,
            $($(
                $(#[doc = $doc])+
                #[arg(long, help_heading = $heading, $($arg)+)]
                pub $name: Option<$type>,
            )+)+
        }

        /// The complete configuration of a run.
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct Config {
            /// The method.
            pub method: Method,
            $($(
                $(#[doc = $doc])+
                pub $name: config_type!($kind, $type),
            )+)+
        }

        impl Settings {
            /// These settings; fields that are not set are taken from `lower`.
            pub(super) fn or(self, lower: Self) -> Self {
                Self {
                    method: self.method.or(lower.method),
                    $($($name: self.$name.or(lower.$name),)+)+
                }
            }

            /// These settings completed by the method's defaults, or the name of a required one that is missing.
            pub(super) fn complete(
                self,
                $method: Method,
                $on_gpu: bool,
            ) -> std::result::Result<Config, &'static str> {
                Ok(Config {
                    method: $method,
                    $($($name: config_value!($kind, $name, self.$name $(, $default)?),)+)+
                })
            }
        }

        impl Config {
            /// Checks every hyperparameter against its bound.
            pub(super) fn check_bounds(&self) -> polyphony_io::Result<()> {
                $($($($bound.check(stringify!($name), self.$name)?;)?)+)+
                Ok(())
            }
        }
    };
}
