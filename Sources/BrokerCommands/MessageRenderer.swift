/// Turns messages into what `broker sub` prints, in a buffer that is reused.
struct MessageRenderer {
    enum Style {
        case text
        case json
        case template(MessageTemplate)

        init(_ format: OutputFormat, template: MessageTemplate?) {
            switch format {
            case .text: self = template.map { .template($0) } ?? .text
            case .json: self = .json
            }
        }
    }

    private(set) var buffer: [UInt8] = []
    private let style: Style
    private var text: MessageText
    private var json: MessageJSON
    private var templateText: TemplateText

    /// - Parameters:
    ///   - brokerName: the origin of messages that name none.
    ///   - toTerminal: bytes of other people's choice must do no harm there.
    init(
        style: Style, brokerName: String, toTerminal: Bool, names: UserNames = UserNames()
    ) {
        self.style = style
        text = MessageText(names: names)
        json = MessageJSON(brokerName: brokerName, names: names)
        templateText = TemplateText(names: names, escapes: toTerminal)
    }

    mutating func append(_ message: borrowing MessageFields) {
        switch style {
        case .text: text.append(message, to: &buffer)
        case .json: json.append(message, to: &buffer)
        case .template(let template):
            templateText.append(message, template, to: &buffer)
        }
    }

    /// Messages are missing at this place.
    ///
    /// - Returns: what to say on standard error, if the loss is not in the output.
    mutating func appendLoss(count: UInt64) -> String? {
        switch style {
        case .json:
            buffer.append("{\"count\":")
            buffer.append(decimal: count)
            buffer.append(",\"event\":\"lost\"}\n")
            return nil
        case .text, .template:
            return "\(count) messages lost here: this subscriber read too slowly"
        }
    }

    /// Messages may be missing at this place: another session begins.
    mutating func appendReconnection() {
        switch style {
        case .json: buffer.append("{\"event\":\"reconnected\"}\n")
        case .text, .template: return
        }
    }

    /// To be called once what is in the buffer has been written.
    mutating func removeAll() {
        buffer.removeAll(keepingCapacity: true)
        text.names.forgetOld()
        json.names.forgetOld()
        templateText.names.forgetOld()
    }
}
