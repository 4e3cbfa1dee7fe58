//! File capabilities (`capabilities(7)`, `struct vfs_ns_cap_data` in `linux/capability.h`).

/// The extended attribute that holds them.
pub const XATTR: &str = "security.capability";

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const LENGTH_2: usize = 20;
const LENGTH_3: usize = 24;

/// Turns version 3, which names the root user of one user namespace, into version 2, which holds in any image; a
/// process in a user namespace reads every capability as version 3. Anything else is returned as it is.
pub fn to_version_2(value: &[u8]) -> Vec<u8> {
    let Some(magic) = value.first_chunk::<4>().map(|b| u32::from_le_bytes(*b)) else {
        return value.to_vec();
    };
    if magic & REVISION_MASK != REVISION_3 || value.len() != LENGTH_3 {
        return value.to_vec();
    }
    let mut out = value[..LENGTH_2].to_vec();
    out[..4].copy_from_slice(&(magic & !REVISION_MASK | REVISION_2).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_3_loses_its_root_and_keeps_its_rights() {
        let rights = [1u8, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];
        let version_3 = [&[1, 0, 0, 3][..], &rights, &1000u32.to_le_bytes()].concat();
        let version_2 = [&[1, 0, 0, 2][..], &rights].concat();
        assert_eq!(to_version_2(&version_3), version_2);
        assert_eq!(to_version_2(&version_2), version_2);
        assert_eq!(to_version_2(b"x"), b"x");
    }
}
