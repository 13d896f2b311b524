import LinuxIO

extension Catalog {
    static let ofProcesses: [Scenario] = [
        Scenario(
            name: "same-process",
            why: "One process connects and writes: both say the same.",
            explanation: """
                SO_PEERCRED is taken once, when the client calls connect(2). SCM_CREDENTIALS is \
                taken with every send. As long as one process with one set of ids does both, \
                there is no difference, and programs that look at the connection only are right. \
                See unix(7), SO_PEERCRED and SCM_CREDENTIALS.
                """,
            verdict: .either, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.send, user: $0.someUser) }),
        Scenario(
            name: "forked-child",
            why: "A child writes on its parent's connection: only the message names the child.",
            explanation: """
                A connection is inherited over fork(2), and what was recorded at connect(2) \
                stays: it goes on to name the parent. Each message is stamped with the thread \
                group of the task that sends it (the kernel's unix_maybe_add_creds), so the \
                child appears with its own pid. See fork(2) and unix(7).
                """,
            verdict: .message, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .another,
            play: { try $0.perform(.fork, user: $0.someUser) }),
        Scenario(
            name: "exec",
            why: "The process becomes another program: the same identity for both.",
            explanation: """
                execve(2) keeps the process: pid, ids and the inode of its pidfd stay, and \
                descriptors without close-on-exec stay open. Neither identity says which program \
                runs. Who reads /proc/PID/exe to find out learns what runs now, not what ran \
                when the message was sent.
                """,
            verdict: .either, needs: [.program("/bin/sh")], connection: .effective("opener"),
            message: .real("writer"), process: .opener,
            play: { try $0.perform(.exec, user: $0.someUser) }),
        Scenario(
            name: "handed-over",
            why: "A descriptor went to another process: the connection names the giver still.",
            explanation: """
                SCM_RIGHTS puts an open connection into another process, as does inheritance. \
                The connection's credentials belong to the socket and are not touched by that; \
                only the message tells who has it now. As root the row hands it to another \
                user. See unix(7), SCM_RIGHTS.
                """,
            verdict: .message, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .another,
            play: {
                try $0.handsOver(to: .take, user: $0.someUser, other: $0.anotherUser)
            }),
        Scenario(
            name: "opener-exited",
            why: "The opener is dead and its pid free: its child writes under its own.",
            explanation: """
                SO_PEERCRED goes on to give the number of a process that was reaped. The number \
                is not kept from being given to another process, so looking it up in /proc is a \
                race. The pidfd from SO_PEERPIDFD (Linux 6.5) goes on to mean the dead process, \
                and polls POLLHUP.
                """,
            verdict: .message, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .another, play: { try $0.openerExits() }),
        Scenario(
            name: "pid-reused",
            why: "A stranger got the dead opener's pid: same number, another process.",
            explanation: """
                The row makes the kernel give the opener's number to a process of another user \
                (clone3(2), set_tid; otherwise pids come round after kernel.pid_max of them). \
                Connection and message then agree on the pid and mean two processes. Only the \
                inode number of the pidfd (Linux 6.9) tells them apart: it is not used twice \
                until the next boot.
                """,
            verdict: .message, needs: [.root, .kernel(5, 5, "clone3 set_tid")],
            connection: .effective("opener"), message: .real("writer"), process: .another,
            play: {
                try $0.perform(.reusePID, user: nil, other: Stage.secondUser)
            }),
        Scenario(
            name: "confused-deputy",
            why: "A program complains on a stranger's connection: its rights, his words.",
            explanation: """
                Somebody opens a connection and makes it the standard error of a program that \
                runs with more rights (sudo, a service, a set-user-id program that became root). \
                Its error message quotes his arguments and goes out as a packet with its \
                credentials, which are true: that process did write. It did not mean to. \
                Require the connection's user to be allowed as well, and a format that program \
                output cannot imitate. The same on netlink was CVE-2014-0181.
                """,
            verdict: .weaker, needs: [.program("/bin/ls")], connection: .effective("opener"),
            message: .real("writer"), process: .another,
            play: { try $0.handsOver(to: .deputy, user: $0.someUser, other: nil) }),
    ]

    static let ofWriters: [Scenario] = [
        Scenario(
            name: "before-accept",
            why: "Sent, exited and reaped before accept(): everything is recorded all the same.",
            explanation: """
                A client may connect, write and be gone before the server calls accept(2). The \
                connection was stamped at connect(2), the message when it was sent, and pidfds of \
                reaped senders can be had since Linux 6.16 and 6.17. Such a pid is history: it \
                must not be looked up.
                """,
            verdict: .either, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .opener, play: { try $0.sendsBeforeAccept() }),
        Scenario(
            name: "asked-late",
            why: "SO_PASSCRED was set after the message was sent: pid 0, uid 65534, nobody's.",
            explanation: """
                Credentials are recorded when a message is sent, and only if the receiver has \
                asked by then. What was sent between accept(2) and setsockopt(2) comes with pid \
                0 and the overflow ids, which is not the user nobody. Set SO_PASSCRED on the \
                listening socket before listen(2): connections take it over, and there is no gap. \
                See unix(7), SO_PASSCRED.
                """,
            verdict: .connection, needs: [], connection: .effective("opener"),
            message: .unrecorded, process: .unchecked, play: { try $0.asksTooLate() }),
        Scenario(
            name: "torn-stream",
            why: "Two writers on one stream: bytes of one land inside the other's message.",
            explanation: """
                SOCK_STREAM has no messages. A long write(2) is taken in parts when the queue is \
                full, and another process with the same descriptor may write in between. A \
                reader that frames by length then reads a stranger's bytes as part of a message. \
                With SO_PASSCRED one recvmsg(2) never joins bytes of different senders, so a \
                careful reader can notice; with SOCK_SEQPACKET there is nothing to notice.
                """,
            verdict: .message, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .another, play: { try $0.tearsFrame() }),
        Scenario(
            name: "whole-packets",
            why: "The same on SOCK_SEQPACKET: every packet is whole and has its own sender.",
            explanation: """
                Two processes send hundreds of packets on one descriptor at once. A packet is \
                queued as one piece or not at all and carries one set of credentials, so each is \
                checked against its content here. See unix(7), SOCK_SEQPACKET.
                """,
            verdict: .message, needs: [], connection: .effective("opener"),
            message: .real("writer"), process: .another,
            play: { try $0.interleavesPackets() }),
    ]
}
