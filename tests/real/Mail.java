import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.Properties;
import javax.mail.Address;
import javax.mail.FetchProfile;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Logs in with JavaMail and reads a whole inbox into files, or sends a file. */
public class Mail {
    public static void main(String[] arguments) throws Exception {
        String protocol = arguments[0].toLowerCase();
        String tls = arguments[1];
        int port = Integer.parseInt(arguments[2]);
        String login = arguments[3];
        String password = arguments[4];
        String file = arguments[5];

        Properties properties = new Properties();
        String prefix = "mail." + protocol + ".";
        properties.put(prefix + "ssl.socketFactory", trusting(arguments[6]).getSocketFactory());
        properties.put(prefix + "ssl.checkserveridentity", "true");
        properties.put(prefix + "ssl.enable", String.valueOf(tls.equals("Implicit")));
        properties.put(prefix + "starttls.enable", String.valueOf(tls.equals("StartTls")));
        properties.put(prefix + "starttls.required", String.valueOf(tls.equals("StartTls")));
        properties.put(prefix + "connectiontimeout", "30000");
        properties.put(prefix + "timeout", "60000");
        properties.put("mail.smtp.auth", "true");
        properties.put("mail.smtp.from", login);
        Session session = Session.getInstance(properties);
        if (protocol.equals("smtp")) {
            send(session, port, login, password, file);
        } else {
            read(session, protocol, port, login, password, file);
        }
    }

    private static void read(Session session, String protocol, int port, String login, String password, String directory)
            throws Exception {
        try (Store store = session.getStore(protocol)) {
            store.connect("localhost", port, login, password);
            Folder[] folders = store.getDefaultFolder().list("*");
            if (Arrays.stream(folders).noneMatch(folder -> folder.getName().equals("INBOX"))) {
                throw new IllegalStateException("no INBOX among " + Arrays.toString(folders));
            }
            Folder inbox = store.getFolder("INBOX");
            inbox.open(Folder.READ_WRITE);
            Message[] messages = inbox.getMessages();
            FetchProfile profile = new FetchProfile();
            profile.add(FetchProfile.Item.ENVELOPE);
            inbox.fetch(messages, profile);
            for (Message message : messages) {
                if (!message.getSubject().startsWith("message ")) {
                    throw new IllegalStateException("subject: " + message.getSubject());
                }
                try (OutputStream output = new FileOutputStream(directory + "/" + message.getMessageNumber() + ".eml")) {
                    message.writeTo(output);
                }
            }
            inbox.close(false);
        }
    }

    private static void send(Session session, int port, String login, String password, String file) throws Exception {
        MimeMessage message;
        try (InputStream input = new FileInputStream(file)) {
            message = new MimeMessage(session, input);
        }
        try (Transport transport = session.getTransport("smtp")) {
            transport.connect("localhost", port, login, password);
            transport.sendMessage(message, new Address[] {new InternetAddress("recipient@example.org")});
        }
    }

    private static SSLContext trusting(String root) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream input = new FileInputStream(root)) {
            store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(input));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }
}
