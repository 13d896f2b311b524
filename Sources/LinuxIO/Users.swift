import Glibc

/// Names of users and groups, from whatever sources the system is set up with. These calls may
/// ask servers and block: never on the reactor thread.
public enum Users {
    /// Nil if there is no such user, or it cannot be found out.
    ///
    /// The corresponding C function is `getpwuid_r`.
    public static func name(ofUser uid: UInt32) -> String? {
        unsafe lookUp(passwd()) { entry, buffer, bytes, found in
            unsafe getpwuid_r(uid, entry, buffer, bytes, found)
        } read: { entry in
            unsafe entry.pw_name.map { unsafe String(cString: $0) }
        }
    }

    /// The group that a user's processes begin with.
    ///
    /// The corresponding C function is `getpwuid_r`.
    public static func primaryGroup(ofUser uid: UInt32) -> UInt32? {
        unsafe lookUp(passwd()) { entry, buffer, bytes, found in
            unsafe getpwuid_r(uid, entry, buffer, bytes, found)
        } read: { entry in
            unsafe entry.pw_gid
        }
    }

    /// The corresponding C function is `getpwnam_r`.
    public static func id(ofUser name: String) -> UInt32? {
        unsafe lookUp(passwd()) { entry, buffer, bytes, found in
            unsafe getpwnam_r(name, entry, buffer, bytes, found)
        } read: { entry in
            unsafe entry.pw_uid
        }
    }

    /// The corresponding C function is `getgrgid_r`.
    public static func name(ofGroup gid: UInt32) -> String? {
        unsafe lookUp(group()) { entry, buffer, bytes, found in
            unsafe getgrgid_r(gid, entry, buffer, bytes, found)
        } read: { entry in
            unsafe entry.gr_name.map { unsafe String(cString: $0) }
        }
    }

    /// The corresponding C function is `getgrnam_r`.
    public static func id(ofGroup name: String) -> UInt32? {
        unsafe lookUp(group()) { entry, buffer, bytes, found in
            unsafe getgrnam_r(name, entry, buffer, bytes, found)
        } read: { entry in
            unsafe entry.gr_gid
        }
    }

    /// All users that can be listed, in the order of the sources. Some sources (directories of
    /// large sites) answer for single names only.
    ///
    /// The corresponding C functions are `setpwent`, `getpwent` and `endpwent`.
    public static func all() -> [(uid: UInt32, name: String)] {
        // One list for the whole process is being walked.
        listing.withLock { _ in
            var users: [(uid: UInt32, name: String)] = []
            setpwent()
            defer { endpwent() }
            while let entry = unsafe getpwent(), users.count < listedMax {
                guard let name = unsafe entry.pointee.pw_name else { continue }
                unsafe users.append((entry.pointee.pw_uid, String(cString: name)))
            }
            return users
        }
    }

    private static let listing = Lock(())
    private static let listedMax = 1_000_000

    private static let bufferBytesMax = 1 << 20

    /// Calls with a larger and larger buffer until the entry fits (ERANGE). `read` sees the
    /// entry while the buffer, which its pointers point into, is alive.
    private static func lookUp<Entry, Value>(
        _ blank: Entry,
        _ call: (
            UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
            UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
        ) -> Int32,
        read: (Entry) -> Value?
    ) -> Value? {
        var bytes = 1024
        while bytes <= bufferBytesMax {
            let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes)
            defer { unsafe buffer.deallocate() }
            var entry = blank
            var found: UnsafeMutablePointer<Entry>?
            let number = unsafe withUnsafeMutablePointer(to: &entry) { entry in
                unsafe call(entry, buffer, bytes, &found)
            }
            if number == ERANGE {
                bytes *= 2
                continue
            }
            if number == EINTR { continue }
            guard number == 0, unsafe found != nil else { return nil }
            return read(entry)
        }
        return nil
    }
}
