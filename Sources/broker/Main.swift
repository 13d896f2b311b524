import BrokerCommands

@main
struct Main {
    static func main() async {
        await BrokerCommand.runAndExit()
    }
}
