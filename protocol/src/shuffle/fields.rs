//! One declaration for a message: its struct, and its fields in wire order.

/// Declares a struct whose wire form is its fields, one behind the other, in the order of declaration.
macro_rules! fields {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $crate::codec::Wire for $name {
            const MIN_LEN: usize = 0 $(+ <$ty as $crate::codec::Wire>::MIN_LEN)*;

            fn decode(from: &mut $crate::codec::Decoder) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($field: from.read()?,)* })
            }

            fn encode(&self, out: &mut bytes::BytesMut) -> Result<(), $crate::codec::EncodeError> {
                $($crate::codec::Wire::encode(&self.$field, out)?;)*
                Ok(())
            }
        }
    };
}
