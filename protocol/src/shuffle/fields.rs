//! One declaration for a message: its struct, and its fields in wire order.

/// Declares a struct whose wire form is its fields, one behind the other, in the order of declaration. A text has a
/// bound in bytes behind it: `name: String where NAME_MAX`.
macro_rules! fields {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty $(where $most:ident)?,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $crate::codec::Wire for $name {
            const MIN_LEN: usize = 0 $(+ fields!(@min_len $ty $(, $most)?))*;

            fn decode(from: &mut $crate::codec::Decoder) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($field: fields!(@decode from, $field $(, $most)?)?,)* })
            }

            fn encode(&self, out: &mut bytes::BytesMut) -> Result<(), $crate::codec::EncodeError> {
                $(fields!(@encode out, &self.$field $(, $most)?)?;)*
                Ok(())
            }
        }
    };
    (@min_len $ty:ty) => { <$ty as $crate::codec::Wire>::MIN_LEN };
    (@min_len $ty:ty, $most:ident) => { 4 };
    (@decode $from:ident, $field:ident) => { $from.read() };
    (@decode $from:ident, $field:ident, $most:ident) => {
        $from.text(stringify!($field), $crate::limits::$most)
    };
    (@encode $out:ident, $value:expr) => { $crate::codec::Wire::encode($value, $out) };
    (@encode $out:ident, $value:expr, $most:ident) => { $crate::codec::put_str($out, $value) };
}
