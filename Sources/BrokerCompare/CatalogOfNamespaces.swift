import LinuxIO

extension Catalog {
    static let ofNamespaces: [Scenario] = [
        Scenario(
            name: "user-namespace",
            why: "It thinks it is root; both identities name the user who made the namespace.",
            explanation: """
                In a user namespace with the map 0 -> its creator, getuid(2) gives 0. The kernel \
                keeps the global id and translates it for whoever reads: outside, both columns \
                show the creator. A server must not ask clients who they are; these would say \
                root in good faith. See user_namespaces(7).
                """,
            verdict: .either, needs: [.userNamespaces], connection: .effective("writer"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.mappedUser, user: $0.someUser) }),
        Scenario(
            name: "user-namespace-unmapped",
            why: "Without a map it is 65534 to itself; outside it is who it always was.",
            explanation: """
                A namespace without uid_map shows the overflow id inside and changes nothing \
                outside. Such a process cannot attach credentials itself (its ids have no \
                number there: EINVAL), so a server must not demand that clients do.
                """,
            verdict: .either, needs: [.userNamespaces], connection: .effective("writer"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.unmappedUser, user: $0.someUser) }),
        Scenario(
            name: "user-namespace-range",
            why: "uid 33 of a mapped range arrives as base + 33, as from a container.",
            explanation: """
                With a map of 65,536 ids, as container engines write it from /etc/subuid, a \
                process inside may be any of them. Outside each is a plain large number. See \
                user_namespaces(7), subuid(5).
                """,
            verdict: .either, needs: [.root, .userNamespaces],
            connection: .effective("writer"), message: .real("writer"), process: .opener,
            play: { try $0.perform(.rangeUser) }),
        Scenario(
            name: "user-namespace-claim",
            why: "Root of a namespace may claim every id of its range, and none beside it.",
            explanation: """
                The capabilities that root has in its own user namespace are enough for the \
                kernel's check on ids that are mapped there. So all ids of a range are the word \
                of whoever owns the namespace: one trust domain, whatever number a message has.
                """,
            verdict: .connection, needs: [.root, .userNamespaces],
            connection: .effective("writer"), message: .real("claim"), process: .opener,
            play: { try $0.perform(.rangeClaim) }),
        Scenario(
            name: "pid-namespace",
            why: "It is pid 1 to itself; both identities give its pid in the reader's namespace.",
            explanation: """
                Pids are translated into the pid namespace of the reader. A process of a \
                namespace below has a number there; one that is not visible at all arrives \
                as pid 0, and then only the ids (and a pidfd) say anything. See \
                pid_namespaces(7).
                """,
            verdict: .either, needs: [.root], connection: .effective("writer"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.pidNamespace) }),
        Scenario(
            name: "pid-claim",
            why: "An ordinary user with namespaces of its own claims another pid there.",
            explanation: """
                Claiming a pid takes CAP_SYS_ADMIN in the user namespace that owns the sender's \
                pid namespace, and everybody may be root in both of his own. The claim reaches \
                processes of that pid namespace only; the uid stays the creator's. A pid names a \
                namespace's word, not a process, unless the opener is in our own namespaces.
                """,
            verdict: .connection, needs: [.userNamespaces], connection: .effective("writer"),
            message: .real("claim"), process: .another,
            play: { try $0.claimsSiblingsPID() }),
    ]
}
