use super::*;

fn watch() -> (Watch, mpsc::Receiver<()>) {
    let (changed, changes) = mpsc::channel(1);
    (Watch::new(changed), changes)
}

#[test]
fn what_was_not_watched_before_is_news_and_what_was_is_none() {
    let root = tempfile::tempdir().unwrap();
    let (mut watch, _changes) = watch();
    let [one, other] = ["one", "other"].map(|name| root.path().join(name));
    assert!(watch.look(std::slice::from_ref(&one)).is_news);
    assert!(!watch.look(std::slice::from_ref(&one)).is_news);
    assert!(watch.look(&[one.clone(), other]).is_news);
    assert!(!watch.look(&[one]).is_news);
}

#[tokio::test]
async fn a_directory_that_another_takes_the_place_of_is_watched_again() {
    let root = tempfile::tempdir().unwrap();
    let [current, next, old] = ["current", "next", "old"].map(|name| root.path().join(name));
    std::fs::create_dir(&current).unwrap();
    std::fs::create_dir(&next).unwrap();
    let (mut watch, mut changes) = watch();
    let file = current.join("tidegate.toml");
    watch.look(std::slice::from_ref(&file));
    std::fs::rename(&current, &old).unwrap();
    changes.recv().await.unwrap();
    std::fs::rename(&next, &current).unwrap();
    watch.look(std::slice::from_ref(&file));
    while changes.try_recv().is_ok() {}
    std::fs::write(&file, "").unwrap();
    changes.recv().await.unwrap();
}

/// The new directory may have the number of the old one, and be the same to whoever asks only for that.
#[tokio::test]
async fn a_directory_that_is_removed_and_made_again_between_two_looks_is_watched_again() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("directory");
    let file = directory.join("tidegate.toml");
    let (mut watch, mut changes) = watch();
    for _ in 0..10 {
        std::fs::create_dir(&directory).unwrap();
        watch.look(std::slice::from_ref(&file));
        std::fs::remove_dir(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
        changes.recv().await.unwrap();
        assert!(watch.look(std::slice::from_ref(&file)).is_news);
        while changes.try_recv().is_ok() {}
        std::fs::write(&file, "").unwrap();
        changes.recv().await.unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn where_nothing_can_be_watched_a_look_tells_what_has_changed_since_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("tidegate.toml");
    let (mut watch, mut changes) = watch();
    let wanted = Names::of(std::slice::from_ref(&file));
    let mut look = || watch.attend(&wanted, Some("none is left"));
    assert!(look().is_news);
    assert!(!look().is_news);
    std::fs::write(&file, "a").unwrap();
    let Look { is_news, polled } = look();
    assert!(is_news);
    assert_eq!(polled, [Polled { directory: root.path().canonicalize().unwrap(), reason: "none is left".to_owned() }]);
    assert!(!look().is_news);
    assert!(changes.try_recv().is_err());
}

#[test]
fn a_limit_that_is_reached_is_told_by_its_name() {
    let told = why(&notify::Error::new(ErrorKind::MaxFilesWatch));
    assert!(told.contains("fs.inotify.max_user_watches"), "{told}");
    let told = why(&notify::Error::io(std::io::Error::from_raw_os_error(libc::EMFILE)));
    assert!(told.contains("fs.inotify.max_user_instances"), "{told}");
}
