import LinuxIO

extension Catalog {
    static let ofIDs: [Scenario] = [
        Scenario(
            name: "setuid-drop",
            why: "Connected as root, dropped to a user, wrote: the connection is root for ever.",
            explanation: """
                A daemon connects with privilege and gives it up with setresuid(2). SO_PEERCRED \
                keeps what was true at connect(2). Whoever decides by it goes on to treat a \
                sandboxed process as root; the message carries the ids of the moment it was sent.
                """,
            verdict: .message, needs: [.root], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.drop, other: Stage.firstUser) }),
        Scenario(
            name: "seteuid",
            why: "Effective ids differ from the real: the connection has those, messages these.",
            explanation: """
                SO_PEERCRED records effective ids (the kernel's cred_to_ucred), SCM_CREDENTIALS \
                real ones (unix_maybe_add_creds, unix(7)). A daemon that has set its effective id \
                to a user's for a while shows that user on the connection and root in its \
                messages. Both are right; they answer different questions, so the weaker counts.
                """,
            verdict: .weaker, needs: [.root], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.setEffective, other: Stage.firstUser) }),
        Scenario(
            name: "set-uid-program",
            why: "A user runs a set-user-id program: root on the connection, the user in messages.",
            explanation: """
                The reverse of seteuid: the program's effective and saved ids are its owner's, \
                its real id the caller's. Until CVE-2013-1979 was fixed messages carried the \
                effective id, and any output of such a program passed for root's. See \
                credentials(7).
                """,
            verdict: .message, needs: [.root], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.setUID, other: Stage.firstUser) }),
        Scenario(
            name: "thread",
            why: "One thread has taken other ids: same pid, another user.",
            explanation: """
                Linux keeps credentials per thread; the C library changes them in all threads \
                together, the bare system call in one. The message shows the ids of the thread \
                that sent, with the pid of the process. There is no thread id in it. See \
                nptl(7) and setresuid(2), C library/kernel differences.
                """,
            verdict: .message, needs: [.root], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.thread, other: Stage.firstUser) }),
    ]

    static let ofClaims: [Scenario] = [
        Scenario(
            name: "claim-own",
            why: "A sender may choose among its own ids; the receiver cannot tell.",
            explanation: """
                A sender may attach SCM_CREDENTIALS itself. Without capabilities the kernel \
                (scm_check_creds) lets it name its own pid and any of its real, effective and \
                saved ids. As root the row claims a saved id; as an ordinary user, whose three \
                ids are one, what would have been recorded anyway. See unix(7).
                """,
            verdict: .message, needs: [.mappedIDs], connection: .effective("opener"),
            message: .real("claim"), process: .opener,
            play: { try $0.perform(.claimOwn, other: $0.anotherUser) }),
        Scenario(
            name: "claim-refused",
            why: "An ordinary user claims root's uid, gid and pid 1: EPERM, and nothing is sent.",
            explanation: """
                Naming a foreign uid takes CAP_SETUID, a foreign gid CAP_SETGID, a foreign pid \
                CAP_SYS_ADMIN, each in the right namespace. Without them sendmsg(2) fails with \
                EPERM and nothing is queued. The row makes three such attempts and then writes \
                as itself.
                """,
            verdict: .either, needs: [.rootOrUser, .mappedIDs],
            connection: .effective("opener"), message: .real("writer"), process: .opener,
            play: { try $0.triesForbiddenClaims() }),
        Scenario(
            name: "claim-by-root",
            why: "Root claims another pid and uid: the message says what root wants it to say.",
            explanation: """
                With CAP_SETUID, CAP_SETGID and CAP_SYS_ADMIN every existing pid and every uid \
                and gid may be named, and the process descriptor that is delivered follows the \
                claimed pid. Messages on a connection that root opened are root's word, no more. \
                See capabilities(7).
                """,
            verdict: .connection, needs: [.root], connection: .effective("opener"),
            message: .real("claim"), process: .another,
            play: { try $0.perform(.claimAnything, other: Stage.secondUser) }),
    ]

    static let ofRings: [Scenario] = [
        Scenario(
            name: "sqpoll-drop",
            why: "A ring from before the drop: the message says root, the process is a user's.",
            explanation: """
                With IORING_SETUP_SQPOLL a kernel thread makes the requests, with the \
                credentials its creator had at io_uring_setup(2). A process that opened such a \
                ring as root and then dropped to a user goes on to send as root. It gains \
                nothing it never had; it has kept it. The connection, opened after the drop, \
                knows better.
                """,
            verdict: .weaker, needs: [.root, .ioUring, .kernel(5, 11, "SQPOLL")],
            connection: .effective("opener"), message: .real("ring"), process: .opener,
            play: { try $0.perform(.ringDrop, other: Stage.firstUser) }),
        Scenario(
            name: "sqpoll-shared",
            why: "A child sends through its parent's ring: the message names the parent.",
            explanation: """
                The rings are shared memory and survive fork(2). What a child puts there is sent \
                by the same kernel thread, in the parent's name. Neither identity knows of the \
                child. Both are of one user here; the parent let its child have the ring.
                """,
            verdict: .neither, needs: [.ioUring, .kernel(5, 13, "SQPOLL without privilege")],
            connection: .effective("opener"), message: .real("ring"), process: .opener,
            play: { try $0.perform(.ringShared, user: $0.someUser) }),
    ]
}
