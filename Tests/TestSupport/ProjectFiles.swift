package import Foundation

/// Files of the source tree that tests read: vectors and inputs that fuzzing once failed on.
package enum ProjectFiles {
    /// The top of the source tree, found from where this file lies.
    package static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Inputs kept by the fuzz target `target`, by file name.
    package static func fuzzFailures(of target: String) throws -> [(name: String, bytes: [UInt8])] {
        let folder = root.appending(path: "Fuzz/failures").appending(path: target)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        return try names.filter { !$0.hasPrefix(".") }.map { name in
            (name, [UInt8](try Data(contentsOf: folder.appending(path: name))))
        }
    }
}
