//! Words for metrics: one list gives the word of each value, and all words.

/// Within an `impl`: the fixed word of each value, and the list of all of them, so that a counter for each can be there
/// before its first count. A word stands once.
#[macro_export]
macro_rules! labels {
    (
        $(#[$doc:meta])*
        $vis:vis fn $label:ident, $all:ident {
            $($pattern:pat => $word:literal,)+
        }
    ) => {
        /// All the words.
        $vis const $all: &'static [&'static str] = &[$($word),+];

        $(#[$doc])*
        $vis const fn $label(&self) -> &'static str {
            match self {
                $($pattern => $word,)+
            }
        }
    };
}
