// BrokerClientTests
