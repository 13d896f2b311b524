/// Which modules each target may import: arrows point down only.
enum Imports {
    static let allowed: [String: Set<String>] = [
        "Sources/LinuxIO": ["CLinux", "Glibc", "Synchronization", "SystemPackage"],
        "Sources/BrokerSigning": ["COpenSSL", "Glibc"],
        "Sources/BrokerWire": ["BasicContainers"],
        "Sources/BrokerCore": ["BasicContainers", "BrokerWire", "DequeModule"],
        "Sources/BrokerClient": [
            "BasicContainers", "BrokerWire", "DequeModule", "LinuxIO", "Synchronization",
            "SystemPackage",
        ],
        "Sources/BrokerCompare": ["LinuxIO", "SystemPackage"],
        "Sources/BrokerConfig": ["BrokerCore", "BrokerWire", "LinuxIO"],
        "Sources/BrokerServer": [
            "BasicContainers", "BrokerConfig", "BrokerCore", "BrokerSigning", "BrokerWire",
            "Foundation", "FoundationEssentials", "LinuxIO", "Logging", "ServiceLifecycle",
            "Synchronization", "SystemPackage", "UnixSignals",
        ],
        "Sources/BrokerCommands": [
            "ArgumentParser", "BrokerClient", "BrokerCompare", "BrokerConfig", "BrokerCore",
            "BrokerServer", "BrokerSigning", "BrokerWire", "Foundation", "FoundationEssentials",
            "Histogram", "LinuxIO", "Logging", "ServiceLifecycle", "Synchronization",
            "SystemPackage", "UnixSignals",
        ],
        "Sources/broker": ["ArgumentParser", "BrokerCommands"],
    ]

    /// The module of an import line, or nil.
    static func module(in line: String) -> String? {
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index + 1 < words.count else {
            return nil
        }
        let modifiers: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
        guard words[..<index].allSatisfy({ modifiers.contains($0) || $0.hasPrefix("@") }) else {
            return nil
        }
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let"]
        let path = words[(index + 1)...].first { !kinds.contains($0) }
        return path?.split(separator: ".").first.map(String.init)
    }
}

extension Rule {
    static let imports = Rule(fix: "imports point down only; see Tests/TidyTests/Imports.swift") {
        file in
        guard let allowed = Imports.allowed[file.target] else {
            return [(1, "\(file.target) has no row in the table of imports")]
        }
        return file.code.indices.compactMap { index in
            guard let module = Imports.module(in: file.code[index]), !allowed.contains(module)
            else { return nil }
            return (index + 1, "\(file.target) imports \(module)")
        }
    }.only(in: ["Sources"])

    /// The shell reads and writes JSON with Foundation, and nothing else.
    static let foundation = Rule(fix: "Foundation is for JSON here") { file in
        let usesJSON = file.code.contains { $0.contains("JSON") }
        return file.code.indices.filter { index in
            let module = Imports.module(in: file.code[index])
            return module?.hasPrefix("Foundation") == true && !usesJSON
        }.map { ($0 + 1, "Foundation without JSON") }
    }.only(in: ["Sources/BrokerServer"])
}
