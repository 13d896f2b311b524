// BrokerWireTests
