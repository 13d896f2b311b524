// swift-tools-version:6.2
import PackageDescription

/// The settings of every Swift target. `-Ounchecked` is never among them: it deletes
/// `precondition`, and preconditions guard memory and permission here.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")
let basicContainers = Target.Dependency.product(
    name: "BasicContainers", package: "swift-collections")
let dequeModule = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let serviceLifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "broker",
    products: [
        .executable(name: "broker", targets: ["broker"]),
        .library(name: "BrokerClient", targets: ["BrokerClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "BrokerSigning", dependencies: ["COpenSSL"], swiftSettings: strict),
        .target(name: "LinuxIO", dependencies: ["CLinux", systemPackage], swiftSettings: strict),
        .target(name: "BrokerWire", dependencies: [basicContainers], swiftSettings: strict),
        .target(
            name: "BrokerCore", dependencies: ["BrokerWire", basicContainers, dequeModule],
            swiftSettings: strict),
        .target(
            name: "BrokerConfig",
            dependencies: ["BrokerCore", "BrokerWire", "LinuxIO", systemPackage],
            swiftSettings: strict),
        .target(
            name: "BrokerServer",
            dependencies: [
                "BrokerConfig", "BrokerCore", "BrokerSigning", "BrokerWire", "LinuxIO",
                basicContainers, logging, serviceLifecycle, systemPackage, unixSignals,
            ], swiftSettings: strict),
        .target(
            name: "BrokerClient",
            dependencies: ["BrokerWire", "LinuxIO", basicContainers, dequeModule, systemPackage],
            swiftSettings: strict),
        .target(
            name: "BrokerCompare", dependencies: ["LinuxIO", systemPackage],
            swiftSettings: strict),
        .target(
            name: "BrokerCommands",
            dependencies: [
                "BrokerClient", "BrokerCompare", "BrokerConfig", "BrokerCore", "BrokerServer",
                "BrokerSigning", "BrokerWire", "LinuxIO", argumentParser, histogram, logging,
                serviceLifecycle, systemPackage, unixSignals,
            ], swiftSettings: strict),
        .executableTarget(
            name: "broker", dependencies: ["BrokerCommands", argumentParser],
            exclude: ["broker.service"], swiftSettings: strict),

        .target(
            name: "TestSupport",
            dependencies: [
                "BrokerConfig", "BrokerCore", "BrokerWire", "LinuxIO", systemPackage,
            ],
            path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(
            name: "LinuxIOTests",
            dependencies: ["CLinux", "LinuxIO", "TestSupport", systemPackage],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerSigningTests", dependencies: ["BrokerSigning", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerWireTests", dependencies: ["BrokerWire", "TestSupport", basicContainers],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerCoreTests", dependencies: ["BrokerCore", "BrokerWire", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerConfigTests",
            dependencies: ["BrokerConfig", "BrokerCore", "BrokerWire", "LinuxIO", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerServerTests",
            dependencies: [
                "BrokerServer", "BrokerCore", "BrokerWire", "LinuxIO", logging, systemPackage,
                "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerClientTests",
            dependencies: ["BrokerClient", "BrokerServer", "BrokerWire", "LinuxIO", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "BrokerCommandsTests",
            dependencies: [
                "BrokerCommands", "BrokerClient", "BrokerConfig", "BrokerCore", "BrokerWire",
                "LinuxIO", "TestSupport", argumentParser,
            ], exclude: ["Snapshots"], swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests", dependencies: ["LinuxIO", "TestSupport", "broker"],
            exclude: ["Actors"], swiftSettings: strict),
        .testTarget(
            name: "CompareTests",
            dependencies: ["LinuxIO", "TestSupport", "broker"],
            swiftSettings: strict),
        .testTarget(
            name: "LinkTests",
            dependencies: ["BrokerCore", "BrokerSigning", "BrokerWire", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["BrokerCore", "BrokerWire", "LinuxIO", "TestSupport"],
            exclude: ["Simulate.swift"], swiftSettings: strict),
        .testTarget(name: "TidyTests", swiftSettings: strict),
    ]
)

// The benchmarks are no part of what users build: `make bench` asks for them.
if Context.environment["BROKER_BENCHMARKS"] == "1" {
    package.targets += [
        .target(name: "CMeasurement", path: "Benchmarks/CMeasurement"),
        .executableTarget(
            name: "CoreBenchmark", dependencies: ["BrokerCore", "BrokerWire", "CMeasurement"],
            path: "Benchmarks/Core", swiftSettings: strict),
    ]
}

// The same sources as a program, for many seeds: `make sim` asks for it, with optimisation, and
// need not build all other tests for that.
if Context.environment["BROKER_SIM"] == "1" {
    package.targets.removeAll { $0.name == "SimulationTests" }
    package.targets.append(
        .executableTarget(
            name: "Simulate", dependencies: ["BrokerCore", "BrokerWire", "LinuxIO", "TestSupport"],
            path: "Tests/SimulationTests", exclude: ["SimulationTests.swift"],
            swiftSettings: strict))
}

// Fuzz targets have no `main` of their own: libFuzzer brings it. So they are here only for
// `make fuzz-smoke`, which sets BROKER_FUZZ and builds in a directory of its own.
if Context.environment["BROKER_FUZZ"] == "1" {
    for (name, dependencies) in [
        ("FuzzAccess", ["TestSupport"]),
        ("FuzzBroker", ["TestSupport"]),
        ("FuzzLink", ["TestSupport"]),
        ("FuzzPacket", ["TestSupport"]),
        ("FuzzTopic", ["TestSupport"]),
    ] {
        package.targets.append(
            .executableTarget(
                name: name, dependencies: dependencies.map { .byName(name: $0) },
                path: "Fuzz/" + name,
                swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]))
    }
}
