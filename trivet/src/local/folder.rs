//! The data folder of `trivet local`: its format, and who holds it.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// What stands in the file `format`. A folder with anything else is refused untouched.
const FORMAT: &str = "trivet local 1\n";

/// An open folder; nobody else opens it meanwhile.
pub struct Folder {
    pub path: PathBuf,
    _lock: File,
}

impl Folder {
    pub fn open(path: &Path) -> anyhow::Result<Folder> {
        let shown = path.display();
        match fs::read_to_string(path.join("format")) {
            Ok(format) if format == FORMAT => {}
            Ok(format) => bail!("{shown} is of format {:?}, this version reads {:?}", format.trim(), FORMAT.trim()),
            Err(error) if error.kind() == ErrorKind::NotFound => begin(path)?,
            Err(error) => return Err(error).with_context(|| format!("read the format of {shown}")),
        }
        let lock = lock(path)?;
        let path = fs::canonicalize(path).with_context(|| format!("resolve {shown}"))?;
        Ok(Folder { path, _lock: lock })
    }
}

/// An empty or missing folder becomes ours; one with something else in it does not.
fn begin(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    let mut entries = fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty and was not made by trivet local; nothing in it was touched", path.display());
    }
    let mut file = File::create(path.join("format")).context("create the format file")?;
    file.write_all(FORMAT.as_bytes()).context("write the format file")?;
    file.sync_all().context("sync the format file")
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .context("open the lock file")?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).context("read who holds the lock")?;
            bail!("{} is in use by process {}", path.display(), holder.trim());
        }
        Err(TryLockError::Error(error)) => return Err(error).context("lock the folder"),
    }
    overwrite(&file, format!("{}\n", std::process::id()).as_bytes()).context("write who holds the lock")?;
    Ok(file)
}

/// Replaces what stands there, and cuts it only then: on a full disk nothing comes back for what was cut first.
pub fn overwrite(file: &File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        let first = Folder::open(&path).unwrap();
        let second = Folder::open(&path).err().unwrap().to_string();
        assert!(second.ends_with(&format!("is in use by process {}", std::process::id())), "{second}");
        drop(first);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_of_another_format_is_refused_untouched() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("format"), "trivet local 2\n").unwrap();
        let error = Folder::open(temporary.path()).err().unwrap().to_string();
        assert!(error.contains("\"trivet local 2\""), "{error}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_untouched() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("thesis.tex"), "").unwrap();
        assert!(Folder::open(temporary.path()).is_err());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }
}
