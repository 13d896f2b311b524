/// The version of this program, in one place.
package enum BrokerVersion {
    package static let current = "0.1.0"
}
