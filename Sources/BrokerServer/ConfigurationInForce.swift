import BrokerConfig
import BrokerCore
import LinuxIO

/// The rules and links a server begins with, and who looks after their files.
struct ConfigurationInForce: Sendable {
    let policy: AccessPolicy
    let quotas: QuotaSettings
    let rulesStatus: RulesStatus
    let links: [LinkSettings]
    /// Nil: the broker was started without a file of links.
    let linkFileStatus: LinkFileStatus?
    /// Nil: there is no file to look after.
    let keeper: ConfigurationKeeper?

    init(
        _ configuration: ServerConfiguration, control: ReactorControl
    ) throws(ServerError) {
        let uid = CurrentProcess.effectiveUserID
        let rules = configuration.accessFile.map { AccessFileSource(path: $0, brokerUID: uid) }
        let loadedRules: AccessFileSource.Loaded?
        do throws(AccessFileSource.Failure) {
            loadedRules = try rules?.load()
        } catch {
            throw ServerError("the access rules cannot be used:\n\(error)")
        }
        let linkFile = configuration.linkFile.map {
            LinkFileSource(path: $0, brokerUID: uid, ownName: configuration.name)
        }
        let loadedLinks: LinkFileSource.Loaded?
        do throws(AccessFileSource.Failure) {
            loadedLinks = try linkFile?.load()
        } catch {
            throw ServerError("the links cannot be used:\n\(error)")
        }
        let compiled = rules.flatMap { source in
            loadedRules.map { CompiledRules($0.file, from: source) }
        }
        if let compiled {
            (policy, quotas, rulesStatus) = (compiled.policy, compiled.quotas, compiled.status)
        } else {
            policy = configuration.isOpen ? .open(brokerUID: uid) : .ownerOnly(brokerUID: uid)
            quotas = QuotaSettings()
            rulesStatus = RulesStatus(policy, path: nil, warnings: [])
        }
        links = loadedLinks?.links ?? []
        linkFileStatus = linkFile.map { LinkFileStatus(path: $0.path) }
        guard rules != nil || linkFile != nil else {
            keeper = nil
            return
        }
        do throws(KernelError) {
            keeper = try ConfigurationKeeper(
                rules: rules.flatMap { source in
                    guard let loadedRules, let compiled else { return nil }
                    return (source, loadedRules.text, compiled)
                },
                links: linkFile.flatMap { source in loadedLinks.map { (source, $0.text) } },
                deliver: { control.deliver($0) })
        } catch {
            throw ServerError("cannot make an eventfd: \(error)")
        }
    }
}
