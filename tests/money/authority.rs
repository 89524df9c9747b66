//! The certificate authority of `notify`'s own tests, by the path at which their mail server looks for it.

#[path = "../../src/notify/tests/authority.rs"]
pub(crate) mod authority;
