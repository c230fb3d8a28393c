//! Enums whose variants have names in settings and files.

/// Declares an enum with a name for each variant: `Display` and serde write it, `FromStr` and serde read it.
macro_rules! choice {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$inner])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// The names of all variants, in their order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(name: &str) -> $crate::Result<Self> {
                match name {
                    $($text => Ok(Self::$variant),)+
                    _ => {
                        let expected = format!("must be one of {}", Self::NAMES.join(", "));
                        Err($crate::Error::value(stringify!($name), format!("{name:?}"), expected))
                    }
                }
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    choice! {
        /// Two variants.
        Example {
            /// The first.
            First = "1st",
            /// The second.
            Second = "2nd",
        }
    }

    #[test]
    fn names_are_written_and_read() {
        assert_eq!("2nd".parse::<Example>().expect("a name"), Example::Second);
        assert_eq!((Example::First.to_string(), Example::NAMES), ("1st".into(), ["1st", "2nd"].as_slice()));
        assert_eq!("x".parse::<Example>().expect_err("x").to_string(), "Example = \"x\": must be one of 1st, 2nd");
    }
}
