// BrokerServerTests
