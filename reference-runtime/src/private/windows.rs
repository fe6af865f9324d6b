//! Windows: the owner and the access list say it. Beside this user, the system and its
//! administrators may be in the list, who can take any file. It must never take an entry that it
//! cannot read for none.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::windows::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use win_custody::{
    ObjectSecurityDescriptor, OwnedSid, SecurityAclError, SecurityDescriptor,
    current_user_sid_string,
};
use winapi_util::file::information;

/// `FILE_FLAG_OPEN_REPARSE_POINT`: the link itself is opened, not what it leads to.
const UNFOLLOWED: u32 = 0x0020_0000;
/// `FILE_FLAG_BACKUP_SEMANTICS`: a folder can be opened.
const FOLDER: u32 = 0x0200_0000;
/// `FILE_ATTRIBUTE_REPARSE_POINT`: a link, a junction, or a file that is not really here.
const REPARSE: u32 = 0x400;
/// `INHERIT_ONLY_ACE`: an entry for what is made inside, which says nothing of the folder itself.
const INHERIT_ONLY: u8 = 0x08;
/// `ERROR_STOPPED_ON_SYMLINK`.
const LINK: i32 = 681;
/// The system and its administrators, in the letters of access lists.
const KEEPERS: [&str; 2] = ["SY", "BA"];

/// Makes a folder that this user alone may enter. Where the folder above would let others in, its
/// list is closed before anything stands in it.
///
/// # Errors
/// It is there already, or cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    close(path, &open_folder(path)?, "OICI")
}

/// Opens a folder to look at it.
///
/// # Errors
/// It is a link or no folder (`NotADirectory`), or cannot be opened.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let folder = OpenOptions::new().read(true).custom_flags(FOLDER | UNFOLLOWED).open(path)?;
    let metadata = folder.metadata()?;
    let plain = metadata.is_dir() && metadata.file_attributes() & REPARSE == 0;
    if plain { Ok(folder) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Opens a file. One that this creates has the list of its folder: [`create`] is for a folder that
/// others may enter.
///
/// # Errors
/// It is a link ([`is_link`]), or cannot be opened.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(UNFOLLOWED).open(path)?;
    let link = file.metadata()?.file_attributes() & REPARSE != 0;
    if link { Err(io::Error::from_raw_os_error(LINK)) } else { Ok(file) }
}

/// Makes a new file, for writing. Nobody else can open it as long as this handle lives, and after it
/// its own list decides: there is no moment in between.
///
/// # Errors
/// The name is taken, or it cannot be made.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = open(options.write(true).create_new(true).share_mode(0), path)?;
    close(path, &file, "")?;
    Ok(file)
}

/// Whether nobody may do anything with it but this user, the system and its administrators.
///
/// # Errors
/// It cannot be asked, or its list is none or has entries that are not understood.
pub fn is_owners(file: &File) -> io::Result<bool> {
    let descriptor = ObjectSecurityDescriptor::query_kernel_object(file)?;
    let owner = descriptor.owner().map_err(unreadable)?;
    let list = descriptor.dacl().map_err(unreadable)?;
    let user = current_user_sid_string()?;
    let trusted = std::iter::once(user.as_str())
        .chain(KEEPERS)
        .map(OwnedSid::from_string)
        .collect::<io::Result<Vec<_>>>()?;
    let strange = list
        .allowed_aces()
        .filter(|entry| entry.flags() & INHERIT_ONLY == 0 && entry.mask() != 0)
        .any(|entry| !trusted.iter().any(|sid| entry.trustee_matches(sid)));
    Ok(trusted.iter().any(|sid| owner.matches(sid)) && !strange)
}

/// The same: administrators own what they make as one.
///
/// # Errors
/// As [`is_owners`].
pub fn is_closed(file: &File) -> io::Result<bool> {
    is_owners(file)
}

/// Whether it has one name: a second one could stand in a folder that others can read.
///
/// # Errors
/// It cannot be asked.
pub fn is_single(file: &File) -> io::Result<bool> {
    Ok(information(file)?.number_of_links() == 1)
}

/// Whether [`open`] failed as the path ends in a link.
pub fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(LINK)
}

/// Whether the path names this open file, and is no link to it.
pub fn names(path: &Path, file: &File) -> bool {
    let same = || {
        // No right but to look: a handle that shares nothing does not stand in its way.
        let named =
            OpenOptions::new().access_mode(0).custom_flags(FOLDER | UNFOLLOWED).open(path)?;
        let (named, open) = (information(&named)?, information(file)?);
        let identity =
            |of: &winapi_util::file::Information| (of.volume_serial_number(), of.file_index());
        Ok::<_, io::Error>(identity(&named) == identity(&open))
    };
    same().unwrap_or(false)
}

/// The names in a folder are in the journal of the file system, which orders them; a handle to a
/// folder cannot be flushed by a user.
///
/// # Errors
/// None.
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives what is open under this path a list of its own where the one that it inherited lets others
/// in: this user, the system, administrators.
fn close(path: &Path, file: &File, passed_on: &str) -> io::Result<()> {
    if is_owners(file)? {
        return Ok(());
    }
    let user = current_user_sid_string()?;
    let entries: String = std::iter::once(user.as_str())
        .chain(KEEPERS)
        .map(|who| format!("(A;{passed_on};FA;;;{who})"))
        .collect();
    SecurityDescriptor::from_sddl(&format!("D:P{entries}"))?.apply_to_tree(path, true)?;
    if is_owners(file)? { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

fn unreadable(error: SecurityAclError) -> io::Error {
    io::Error::other(format!("its access list: {error}"))
}
