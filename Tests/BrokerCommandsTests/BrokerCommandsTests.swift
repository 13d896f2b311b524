// BrokerCommandsTests
