//! The vocabulary every other module speaks: paths inside an image, digests, trees of paths, the first line of a
//! script, the time that goes into what is written, numbers in sentences, and the names of environment variables.
//! Nothing here touches the outside world.

mod counted;
mod digest;
pub mod env_vars;
mod epoch;
mod path;
mod shebang;
mod tree;

pub use counted::counted;
pub use digest::{Digest, DigestError, HashingReader, HashingWriter};
pub use epoch::{Epoch, EpochError};
pub use path::{ImagePath, PathError, escape_bytes, unescape_bytes};
pub use shebang::Shebang;
pub use tree::FileTree;

/// The address of an application in a network of its own beside that of `lo`: private, as those of containers are.
pub const CONTAINER_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 88, 0, 2);
